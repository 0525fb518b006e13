/** Instances of ours: registered over gRPC, renewed as often as services do it. Argument: the directory's address. */
import { DirectoryServiceDefinition } from '@nephos/proto/nephos/directory/v1/directory_service';
import { Health } from '@nephos/proto/nephos/directory/v1/instance';
import { openClients, retry, systemClock } from '@nephos/service';
import { answer, sharedNow } from '../child.ts';
import type { InstancesCommands, Told } from './commands.ts';
import { uidOf } from './commands.ts';
import { instanceOf, renewMs } from './instance.ts';

const [target = ''] = process.argv.slice(2);
const clients = openClients('services/bench');
const directory = clients.of(DirectoryServiceDefinition, target);
/** A machine that does much else as well may take long for a thousand of them. */
const patienceMs = 120_000;
const beats = new Map<number, bigint>();
const renewing = new Set<number>();
const renewals: Disposable[] = [];

function nextBeat(number: number): bigint {
  const beat = (beats.get(number) ?? 0n) + 1n;
  beats.set(number, beat);
  return beat;
}

async function register(told: Told): Promise<void> {
  const request = () => ({ instance: instanceOf(told), beat: nextBeat(told.number) });
  const once = () => directory.registerInstance(request(), { deadlineMs: patienceMs });
  // As services do, which go on until they are registered.
  await retry(once, { attempts: Infinity, backoff: { firstMs: 100, maxMs: 1000 }, when: () => true });
}

/** As in services, one renewal is under way at a time. */
function renew(number: number): void {
  if (renewing.has(number)) return;
  const renewal = { name: `instances/${uidOf(number)}`, beat: nextBeat(number), health: Health.SERVING };
  renewing.add(number);
  const over = (): void => void renewing.delete(number);
  directory.renewInstance(renewal).then(over, over);
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
