/** Watchers of etcd: a read and a stream each, over as many connections as there are hundreds. Argument: its address. */
import { Instance } from '@nephos/proto/nephos/directory/v1/instance';
import { answer } from '../child.ts';
import type { WatchersCommands } from './commands.ts';
import { numberIn, serviceOf } from './commands.ts';
import { Etcd } from './etcd-client.ts';
import { toldBy } from './instance.ts';
import { Views } from './views.ts';

const [target = ''] = process.argv.slice(2);
const connections: Etcd[] = [];
const views = new Views();
const streamsPerConnection = 100;
const prefix = `${serviceOf(0)}/`;

function connect(): Etcd {
  const etcd = new Etcd(target);
  connections.push(etcd);
  return etcd;
}

function put(view: Map<number, number>, value: Uint8Array): void {
  const { number, state } = toldBy(Instance.decode(value));
  view.set(number, state);
}

async function watch(etcd: Etcd): Promise<void> {
  const view = views.add();
  const { kvs, revision } = await etcd.range(prefix);
  for (const { value } of kvs) put(view, value);
  views.changed(view);
  etcd.watch(prefix, revision + 1, ({ events }) => {
    for (const { type, kv } of events) {
      if (type === 'PUT') put(view, kv.value);
      else view.delete(numberIn(kv.key.toString().slice(prefix.length)));
    }
    if (events.length > 0) views.changed(view);
  });
}

answer<WatchersCommands>(
  {
    async open({ watchers, instances }) {
      let etcd = connect();
      const opening: Promise<void>[] = [];
      for (let at = 0; at < watchers; at += 1) {
        if (at % streamsPerConnection === 0 && at > 0) etcd = connect();
        opening.push(watch(etcd));
      }
      await Promise.all(opening);
      await views.know(instances);
    },
    seen: (told) => views.seen(told),
    gone: ({ number }) => views.gone(number),
  },
  async () => {
    for (const etcd of connections) etcd.close();
  },
);
