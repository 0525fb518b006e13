/** What is measured of the events: see docs/benchmarks.md for why the peer is a fair one. */
import type { Case, Figure, Measured, Round, Scale, Sides } from '../paired.ts';
import { percentile } from '../statistics.ts';
import type { Burst } from './commands.ts';
import { type Side, startOurs, startRaw } from './sides.ts';

const peerName =
  'JetStream by @nats-io alone: publish with acknowledgement, pull consumer with explicit acknowledgements';

const rates: readonly Figure[] = [
  { name: 'throughput', unit: 'events/s', better: 'higher' },
  { name: 'cpu', unit: 'µs/event', better: 'lower' },
  { name: 'cpu-without-broker', unit: 'µs/event', better: 'lower' },
];

/** Writes under way at once, on both sides. */
const window = 500;

interface Bursts {
  readonly kind: Burst['kind'];
  /** Entities, and events of a round. */
  readonly entities: number;
  readonly count: number;
  readonly subscribers: number;
  /** The peer's broker derives a state stream as ours does. */
  readonly peerHasState?: boolean;
}

/** One round: so many writes, until the last is handled by every subscriber. */
function burstRound(side: Side, { kind, entities, count, subscribers }: Bursts, firstNumber: number): Round {
  let next = firstNumber;
  return async () => {
    const from = kind === 'insert' ? next : firstNumber;
    next += count;
    await side.writer.ask('prepare', { from, count, kind });
    const before = await side.cpu();
    const handled = side.subscriber.ask('expect', { from, count: count * subscribers });
    let began = Infinity;
    for (let done = 0; done < count; done += entities) {
      const input = {
        from: from + (kind === 'insert' ? done : 0),
        count: Math.min(entities, count - done),
        window,
        kind,
      };
      began = Math.min(began, await side.writer.ask('burst', input));
    }
    const { last } = await handled;
    await side.writer.ask('settle', undefined);
    const after = await side.cpu();
    const deliveries = count * subscribers;
    const programs = after.programs - before.programs;
    return {
      throughput: deliveries / ((last - began) / 1e9),
      cpu: (programs + after.broker - before.broker) / deliveries,
      'cpu-without-broker': programs / deliveries,
    };
  };
}

/** Entities that are there before an update case begins have the numbers from here on. */
const firstNumber = 1000;

async function startBursts(bursts: Bursts): Promise<Sides> {
  const open = new AsyncDisposableStack();
  try {
    const ours = await startOurs(open, bursts.subscribers);
    await seed(ours, bursts);
    const peer = await startRaw(open, bursts.subscribers, ours, bursts.peerHasState);
    return {
      ours: burstRound(ours, bursts, firstNumber + bursts.entities),
      peer: burstRound(peer, bursts, firstNumber + bursts.entities),
      [Symbol.asyncDispose]: () => open.disposeAsync(),
    };
  } catch (error) {
    await open.disposeAsync();
    throw error;
  }
}

/** Writes what has to be there before: entities to update, and an event whose bytes the peer publishes. */
async function seed(side: Side, { kind, entities, subscribers }: Bursts): Promise<void> {
  const from = firstNumber + entities;
  const seeds: Burst[] =
    kind === 'insert'
      ? [{ from: 1, count: 1, window, kind: 'insert' }]
      : [
          { from, count: entities, window, kind: 'insert' },
          { from, count: 1, window, kind: 'update' },
        ];
  for (const burst of seeds) {
    const handled = side.subscriber.ask('expect', { from: burst.from, count: burst.count * subscribers });
    await side.writer.ask('burst', burst);
    await handled;
  }
}

function burstCase(
  name: string,
  about: string,
  full: Bursts,
  counts: Pick<Case, 'rounds' | 'warmUp'>,
  figures = rates,
): Case {
  const quick = {
    ...full,
    entities: Math.min(full.entities, 50),
    count: Math.min(full.count, 100),
    subscribers: Math.min(full.subscribers, 3),
  };
  return {
    name,
    about,
    peerName,
    figures,
    ...counts,
    start: (scale: Scale) => startBursts(scale === 'quick' ? quick : full),
  };
}

const times: readonly Figure[] = [
  { name: 'asked-p50', unit: 'ms', better: 'lower' },
  { name: 'asked-p99', unit: 'ms', better: 'lower' },
  { name: 'committed-p50', unit: 'ms', better: 'lower' },
  { name: 'committed-p99', unit: 'ms', better: 'lower' },
];

const perSecond = 500;

/**
 * `asked`: from asking for the write to the handler, so with ours the synced write is in it. `committed`: from when
 * its writer knew that it is kept; with the peer that is also when the broker has it, so there it is asked as well.
 */
function latencyRound(side: Side, compare: 'ours' | 'peer', count: number): Round {
  let from = firstNumber;
  return async (): Promise<Measured> => {
    const handled = side.subscriber.ask('expect', { from, count });
    const { asked, kept } = await side.writer.ask('paced', { from, count, perSecond });
    const { at } = await handled;
    from += count;
    const began = compare === 'ours' ? kept : asked;
    const fromAsked = at.map((end, place) => (end - (asked[place] ?? NaN)) / 1e6);
    const fromKept = at.map((end, place) => (end - (began[place] ?? NaN)) / 1e6);
    return {
      'asked-p50': percentile(fromAsked, 0.5),
      'asked-p99': percentile(fromAsked, 0.99),
      'committed-p50': percentile(fromKept, 0.5),
      'committed-p99': percentile(fromKept, 0.99),
    };
  };
}

async function startLatency(scale: Scale): Promise<Sides> {
  const open = new AsyncDisposableStack();
  const count = scale === 'quick' ? 50 : 1000;
  try {
    const ours = await startOurs(open, 1);
    await seed(ours, { kind: 'insert', entities: 1, count: 1, subscribers: 1 });
    const peer = await startRaw(open, 1, ours);
    return {
      ours: latencyRound(ours, 'ours', count),
      peer: latencyRound(peer, 'peer', count),
      [Symbol.asyncDispose]: () => open.disposeAsync(),
    };
  } catch (error) {
    await open.disposeAsync();
    throw error;
  }
}

export const cases: readonly Case[] = [
  burstCase(
    'insert',
    'new entities, 500 writes under way: synced write, relay, broker, handler',
    { kind: 'insert', entities: 10_000, count: 10_000, subscribers: 1 },
    { rounds: 9, warmUp: 3 },
  ),
  burstCase(
    'state-too',
    "new entities as in insert; the peer's broker too derives the last state of each from the stream",
    { kind: 'insert', entities: 10_000, count: 10_000, subscribers: 1, peerHasState: true },
    { rounds: 9, warmUp: 3 },
  ),
  burstCase(
    'update',
    'changes of 10,000 entities, 500 writes under way; each event has the state before and after',
    { kind: 'update', entities: 10_000, count: 10_000, subscribers: 1 },
    { rounds: 9, warmUp: 3 },
  ),
  {
    name: 'latency',
    about: `${perSecond} new entities a second, from the write to the handler`,
    peerName,
    figures: times,
    rounds: 7,
    warmUp: 1,
    start: startLatency,
  },
  burstCase(
    '100k-entities',
    'a change of each of 100,000 entities',
    { kind: 'update', entities: 100_000, count: 100_000, subscribers: 1 },
    { rounds: 2, warmUp: 0 },
  ),
  burstCase(
    '100-subscribers',
    'each event to 100 subscribers; rates are of deliveries',
    { kind: 'insert', entities: 500, count: 500, subscribers: 100 },
    { rounds: 5, warmUp: 1 },
  ),
];
