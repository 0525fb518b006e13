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
const states = new Map<number, number>();
const over = new AbortController();
const renewals: Disposable[] = [];

function nextBeat(number: number): bigint {
  const beat = (beats.get(number) ?? 0n) + 1n;
  beats.set(number, beat);
  return beat;
}

async function register(told: Told): Promise<void> {
  states.set(told.number, told.state);
  const request = () => ({ instance: instanceOf(told), beat: nextBeat(told.number) });
  const once = () => directory.registerInstance(request(), { deadlineMs: patienceMs });
  // As services do, which go on until they are registered.
  await retry(once, { attempts: Infinity, backoff: { firstMs: 100, maxMs: 1000 }, when: () => true });
}

/** Renewals that are due, and who waits for one. */
const due: number[] = [];
let wake = (): void => {};

async function* renewalsDue(asked: number[]) {
  for (;;) {
    for (const number of due.splice(0)) {
      const health = Health.SERVING;
      asked.push(number);
      yield { renewal: { name: `instances/${uidOf(number)}`, beat: nextBeat(number), health } };
    }
    await new Promise<void>((resolve) => (wake = resolve));
  }
}

/** Answers come in order; whom the directory has lost registers again, as services do. */
async function keep(): Promise<void> {
  const asked: number[] = [];
  const options = { signal: over.signal, waitForReady: true };
  for await (const { leaseTtl } of directory.keepInstances(renewalsDue(asked), options)) {
    const number = asked.shift() ?? 0;
    if (leaseTtl === undefined) await register({ number, state: states.get(number) ?? 0 });
  }
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
