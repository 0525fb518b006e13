/** Instances of ours: registered over gRPC, renewed as often as services do it. Argument: the directory's address. */
import { DirectoryServiceDefinition } from '@nephos/proto/nephos/directory/v1/directory_service';
import { Health } from '@nephos/proto/nephos/directory/v1/instance';
import { openClients, systemClock } from '@nephos/service';
import { answer, sharedNow } from '../child.ts';
import type { InstancesCommands, Told } from './commands.ts';
import { uidOf } from './commands.ts';
import { instanceOf, renewMs } from './instance.ts';

const [target = ''] = process.argv.slice(2);
const clients = openClients('services/bench');
const directory = clients.of(DirectoryServiceDefinition, target);
const beats = new Map<number, bigint>();
const renewals: Disposable[] = [];

function nextBeat(number: number): bigint {
  const beat = (beats.get(number) ?? 0n) + 1n;
  beats.set(number, beat);
  return beat;
}

async function register(told: Told): Promise<void> {
  await directory.registerInstance({ instance: instanceOf(told), beat: nextBeat(told.number) });
}

function renew(number: number): void {
  const renewal = { name: `instances/${uidOf(number)}`, beat: nextBeat(number), health: Health.SERVING };
  directory.renewInstance(renewal).catch(() => undefined);
}

answer<InstancesCommands>(
  {
    async register({ from, count }) {
      const began = sharedNow();
      for (let number = from; number < from + count; number += 50) {
        const many = Array.from({ length: Math.min(50, from + count - number) }, (_, at) => number + at);
        await Promise.all(many.map((each) => register({ number: each, state: 0 })));
        for (const each of many) renewals.push(systemClock.every(renewMs, () => renew(each)));
      }
      return began;
    },
    async change(told) {
      const began = sharedNow();
      await register(told);
      return began;
    },
  },
  async () => {
    for (const renewal of renewals) renewal[Symbol.dispose]();
    clients[Symbol.dispose]();
  },
);
