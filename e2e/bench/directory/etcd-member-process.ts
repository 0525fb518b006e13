/** A process with a key under a lease that it keeps. Arguments: etcd's address, its number. */
import { Instance } from '@nephos/proto/nephos/directory/v1/instance';
import { systemClock } from '@nephos/service';
import { answer } from '../child.ts';
import type { MemberCommands } from './commands.ts';
import { ttlMs } from './commands.ts';
import { Etcd, keyOf } from './etcd-client.ts';
import { instanceOf } from './instance.ts';

const [target = '', number = '0'] = process.argv.slice(2);
const etcd = new Etcd(target);
const lease = await etcd.grant();
const keeper = etcd.keepAlive();
const value = Instance.encode(instanceOf({ number: Number(number), state: 0 })).finish();
await etcd.put(keyOf(Number(number)), value, lease);
const keeping = systemClock.every(ttlMs / 3, () => keeper.keep(lease));

answer<MemberCommands>({ id: async () => number }, async () => {
  keeping[Symbol.dispose]();
  keeper.end();
  etcd.close();
});
