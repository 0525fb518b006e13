/** Instances in etcd: a key with a lease each, kept each third of it. Argument: etcd's address. */
import { Instance } from '@nephos/proto/nephos/directory/v1/instance';
import { systemClock } from '@nephos/service';
import { answer, sharedNow } from '../child.ts';
import type { InstancesCommands, Told } from './commands.ts';
import { ttlMs } from './commands.ts';
import { Etcd, keyOf } from './etcd-client.ts';
import { instanceOf } from './instance.ts';

const [target = ''] = process.argv.slice(2);
const etcd = new Etcd(target);
const keeper = etcd.keepAlive();
const leases = new Map<number, string>();
const keeping: Disposable[] = [];

async function put(told: Told): Promise<void> {
  const lease = leases.get(told.number) ?? (await etcd.grant());
  leases.set(told.number, lease);
  await etcd.put(keyOf(told.number), Instance.encode(instanceOf(told)).finish(), lease);
}

answer<InstancesCommands>(
  {
    async register({ from, count }) {
      const began = sharedNow();
      for (let number = from; number < from + count; number += 50) {
        const many = Array.from({ length: Math.min(50, from + count - number) }, (_, at) => number + at);
        await Promise.all(many.map((each) => put({ number: each, state: 0 })));
        for (const each of many)
          keeping.push(systemClock.every(ttlMs / 3, () => keeper.keep(leases.get(each) ?? '')));
      }
      return began;
    },
    async change(told) {
      const began = sharedNow();
      await put(told);
      return began;
    },
  },
  async () => {
    for (const each of keeping) each[Symbol.dispose]();
    keeper.end();
    etcd.close();
  },
);
