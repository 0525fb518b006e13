/** The link to an agent: what an agent may say and when, and what goes wrong with those who listen. */
import { expect, test } from '@jest/globals';
import {
  type MachineObservation,
  MachineObservation_State as State,
  WatchObservationsResponse,
} from '@nephos/proto/nephos/plugin/v1/hypervisor';
import { type Clients, type Clock, type Logger, newUid, systemClock, Unavailable } from '@nephos/service';
import { type AgentListener, runAgentSession } from '../src/adapters/agent-session.ts';

const log = { info() {}, warn() {} } as unknown as Logger;

type Stream = AsyncIterable<WatchObservationsResponse>;

/** An agent whose n-th stream is the n-th of `streams`; the last stays open. */
function agentOf(streams: readonly ((signal: AbortSignal) => Stream)[], cursors: string[] = []): Clients {
  let next = 0;
  const client = {
    getCapabilities: async () => ({ hosts: [] }),
    watchObservations: ({ cursor }: { cursor: string }, { signal }: { signal: AbortSignal }) => {
      cursors.push(cursor);
      const stream = streams[Math.min(next, streams.length - 1)];
      next += 1;
      return stream?.(signal);
    },
  };
  return { of: () => client } as unknown as Clients;
}

async function* says(...messages: Partial<WatchObservationsResponse>[]): Stream {
  for (const message of messages) yield WatchObservationsResponse.fromPartial(message);
}

async function* staysOpen(signal: AbortSignal): Stream {
  signal.throwIfAborted();
  await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
  yield WatchObservationsResponse.fromPartial({});
}

const machine = (): MachineObservation =>
  ({ vmUid: newUid(), host: 'h', state: State.RUNNING }) as unknown as MachineObservation;

const deaf: AgentListener = {
  session: async () => undefined,
  heard: () => undefined,
  seen: async () => undefined,
  capabilities: async () => undefined,
  draining: () => undefined,
  closed: async () => undefined,
};

/** Runs a session until `enough` resolves. */
async function session(
  clients: Clients,
  listener: Partial<AgentListener>,
  enough: Promise<void>,
  clock: Clock = systemClock,
): Promise<void> {
  const stop = new AbortController();
  const options = {
    agentId: 'a',
    clients,
    clock,
    log,
    silentAfterMs: 2_500,
    listener: { ...deaf, ...listener },
  };
  const ended = runAgentSession(options, stop.signal);
  await enough;
  stop.abort();
  await ended;
}

test('a listener that fails when the stream ends does not end the link for ever', async () => {
  const again = Promise.withResolvers<void>();
  let sessions = 0;
  const listener = {
    session: async () => {
      sessions += 1;
      if (sessions === 2) again.resolve();
    },
    closed: () => Promise.reject(new Unavailable('STORAGE_FAILED', 'the store is away')),
  };
  await session(agentOf([() => says({ cursor: 's:0' }), staysOpen]), listener, again.promise);
  expect(sessions).toBeGreaterThanOrEqual(2);
});

test('a full picture in answer to a cursor that the agent forgot is taken as one', async () => {
  const [first, second] = [machine(), machine()];
  const cursors: string[] = [];
  const streams = [
    () => says({ cursor: 'old:7', snapshotComplete: true }),
    () =>
      says({ observations: [first] }, { cursor: 'new:0', observations: [second], snapshotComplete: true }),
    staysOpen,
  ];
  const seen: { uids: string[]; complete: boolean }[] = [];
  const whole = Promise.withResolvers<void>();
  const listener = {
    seen: async (observations: readonly MachineObservation[], complete: boolean) => {
      seen.push({ uids: observations.map(({ vmUid }) => vmUid), complete });
      if (seen.length === 2) whole.resolve();
    },
  };
  await session(agentOf(streams, cursors), listener, whole.promise);
  expect(cursors.slice(0, 2)).toEqual(['', 'old:7']);
  expect(seen).toEqual([
    { uids: [], complete: true },
    { uids: [first.vmUid, second.vmUid], complete: true },
  ]);
});

test('a stream is not cut as silent while its own listener is slow', async () => {
  let now = 0;
  const beats = new Set<() => void>();
  const clock: Clock = {
    ...systemClock,
    now: () => systemClock.now(),
    sleep: (ms, signal) => systemClock.sleep(ms, signal),
    timer: (ms, fire) => systemClock.timer(ms, fire),
    monotonic: () => now,
    every: (_ms, fire) => {
      beats.add(fire);
      return { [Symbol.dispose]: () => beats.delete(fire) };
    },
  };
  const done = Promise.withResolvers<void>();
  const cut: boolean[] = [];
  async function* twoMessages(signal: AbortSignal): Stream {
    for (const n of [1, 2]) {
      cut.push(signal.aborted);
      const message = { cursor: `s:${n}`, observations: [machine()], snapshotComplete: n === 1 };
      yield WatchObservationsResponse.fromPartial(message);
    }
    done.resolve();
    yield* staysOpen(signal);
  }
  const seen = async (): Promise<void> => {
    for (let second = 0; second < 10; second += 1) {
      now += 1_000;
      for (const beat of beats) beat();
    }
  };
  await session(agentOf([twoMessages]), { seen }, done.promise, clock);
  expect(cut).toEqual([false, false]);
});
