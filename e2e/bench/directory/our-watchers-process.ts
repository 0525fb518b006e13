/** Watchers of ours: a stream each, over as many connections as there are hundreds. Argument: the directory's address. */
import { DirectoryServiceDefinition } from '@nephos/proto/nephos/directory/v1/directory_service';
import type { Instance } from '@nephos/proto/nephos/directory/v1/instance';
import { openClients } from '@nephos/service';
import { answer } from '../child.ts';
import type { WatchersCommands } from './commands.ts';
import { numberIn, serviceOf } from './commands.ts';
import { toldBy } from './instance.ts';
import { Views } from './views.ts';

const [target = ''] = process.argv.slice(2);
const open = new DisposableStack();
const over = new AbortController();
const views = new Views();
const streamsPerConnection = 100;

function put(view: Map<number, number>, instances: readonly Instance[]): void {
  for (const instance of instances) {
    const { number, state } = toldBy(instance);
    view.set(number, state);
  }
}

async function watch(directory: ReturnType<typeof connect>): Promise<void> {
  const view = views.add();
  const request = { selector: { service: serviceOf(0) }, changes: true };
  for await (const { update } of directory.watchInstances(request, { signal: over.signal })) {
    if (update?.$case === 'list') {
      view.clear();
      put(view, update.value.instances);
    } else if (update?.$case === 'changes') {
      put(view, update.value.added);
      put(view, update.value.changed);
      for (const name of update.value.removed) view.delete(numberIn(name.slice(name.indexOf('/') + 1)));
    } else continue;
    views.changed(view);
  }
}

function connect() {
  return open.use(openClients('services/bench')).of(DirectoryServiceDefinition, target);
}

answer<WatchersCommands>(
  {
    async open({ watchers, instances }) {
      let directory = connect();
      for (let at = 0; at < watchers; at += 1) {
        if (at % streamsPerConnection === 0 && at > 0) directory = connect();
        watch(directory).catch((error: unknown) => {
          if (!over.signal.aborted) process.stderr.write(`a watch ended: ${String(error)}\n`);
        });
      }
      await views.know(instances);
    },
    seen: (told) => views.seen(told),
    gone: ({ number }) => views.gone(number),
  },
  async () => {
    over.abort();
    open.dispose();
  },
);
