/**
 * Instances of ours: registered over gRPC, renewed as often as services do it, over the one stream that a process has
 * (as the peer keeps its leases). Argument: the directory's address.
 */
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
const over = new AbortController();
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

/** Renewals that are due, and who waits for one. */
const due: number[] = [];
let wake = (): void => {};

async function* renewalsDue() {
  for (;;) {
    for (const number of due.splice(0)) {
      const health = Health.SERVING;
      yield { renewal: { name: `instances/${uidOf(number)}`, beat: nextBeat(number), health } };
    }
    await new Promise<void>((resolve) => (wake = resolve));
  }
}

/** One that nobody answered is left out until the next. */
async function keep(): Promise<void> {
  for await (const _ of directory.keepInstances(renewalsDue(), { signal: over.signal, waitForReady: true }));
}

function renew(number: number): void {
  due.push(number);
  wake();
}

retry(keep, {
  attempts: Infinity,
  backoff: { firstMs: 100, maxMs: 1000 },
  when: () => !over.signal.aborted,
}).catch(() => undefined);

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
    over.abort();
    for (const renewal of renewals) renewal[Symbol.dispose]();
    clients[Symbol.dispose]();
  },
);
