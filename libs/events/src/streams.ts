/**
 * The streams and their bounds.
 * NEPHOS_EVENTS holds the changes of entities for a while, NEPHOS_STATE the last change of each for good (it is
 * fed by NEPHOS_EVENTS inside the broker), NEPHOS_JOB_EVENTS those of jobs for a short while,
 * NEPHOS_DEAD_LETTERS what subscribers gave up on. Made where missing; bounds set by an operator stay, and nothing is
 * altered but the number of copies, which is raised to what is asked for and never lowered. A state stream older than
 * its events is made anew with them; relays then state all entities again.
 */
import {
  JetStreamApiCodes,
  JetStreamApiError,
  type JetStreamManager,
  type StreamConfig,
  type StreamInfo,
} from '@nats-io/jetstream';
import { nanos } from '@nats-io/nats-core';
import { type Clock, Precondition } from '@nephos/service';
import type { EventsLog } from './context.ts';
import { isOfAnotherLife, lifeOf, newLife } from './stream-life.ts';
import { whileAlone } from './stream-lock.ts';
import { type EventTree, subjectRoots } from './subject.ts';

export const streams = {
  events: 'NEPHOS_EVENTS',
  state: 'NEPHOS_STATE',
  jobEvents: 'NEPHOS_JOB_EVENTS',
  deadLetters: 'NEPHOS_DEAD_LETTERS',
} as const;

export const deadLetterRoot = 'nephos-dead.v1';

/** The stream that an entity's events are in. */
export function streamOf(tree: EventTree): string {
  return tree === 'jobs' ? streams.jobEvents : streams.events;
}

export interface StreamOptions {
  /** Copies of each stream; 3 in a cluster of brokers. Default 1. */
  readonly replicas?: number;
  /** How long events are kept; default 7 days. */
  readonly maxAgeMs?: number;
  /** How many bytes of events are kept at most; default 1 GiB. */
  readonly maxBytes?: number;
  /** How long a message id is remembered: a publish repeated within is stored once. Default 2 minutes. */
  readonly dedupMs?: number;
}

const dayMs = 24 * 60 * 60 * 1000;
const mebibyte = 1024 * 1024;

/**
 * How long after a stream went missing it is made anew, in milliseconds: the broker (2.9) forgets its name first and
 * removes its folder by that name a while later, with the files of a stream that has been made in between. For the
 * same reason no two may delete one.
 */
const goneMs = 2_000;

/** The shortest window that the broker takes. */
const shortestWindowMs = 100;

function bounds(subjects: string[], maxAgeMs: number, maxBytes: number): Partial<StreamConfig> {
  return { subjects, max_age: nanos(maxAgeMs), max_bytes: maxBytes };
}

type WantedStream = Partial<StreamConfig> & { readonly name: string };

function configs(options: StreamOptions): WantedStream[] {
  const { replicas = 1, maxAgeMs = 7 * dayMs, maxBytes = 1024 * mebibyte, dedupMs = 2 * 60 * 1000 } = options;
  const common: Partial<StreamConfig> = {
    storage: 'file',
    retention: 'limits',
    discard: 'old',
    num_replicas: replicas,
    allow_direct: true,
    duplicate_window: nanos(dedupMs),
  };
  return [
    { ...common, name: streams.events, ...bounds([`${subjectRoots.entities}.>`], maxAgeMs, maxBytes) },
    {
      ...common,
      name: streams.state,
      sources: [{ name: streams.events }],
      max_msgs_per_subject: 1,
      // A repeat that its source took would hold up the state for the window: brokers before 2.10 wait for it to pass.
      duplicate_window: nanos(shortestWindowMs),
    },
    { ...common, name: streams.jobEvents, ...bounds([`${subjectRoots.jobs}.>`], dayMs, 256 * mebibyte) },
    { ...common, name: streams.deadLetters, ...bounds([`${deadLetterRoot}.>`], 30 * dayMs, 256 * mebibyte) },
  ];
}

/** What tells one life of the streams from another: it changes when events or state were lost and made anew. */
export type Incarnation = string;

/** Makes the streams that are missing. Safe to run from many processes at once. */
export async function ensureStreams(
  jsm: JetStreamManager,
  options: StreamOptions,
  log: EventsLog,
  clock: Clock,
): Promise<Incarnation> {
  const wanted = configs(options);
  const found = await lookUpAll(jsm, wanted);
  await raiseReplicas(jsm, [...found.values()], options.replicas ?? 1, log);
  const isWhole = found.size === wanted.length && !isOlder(found);
  if (isWhole) return incarnationOf(found);
  if (isOlder(found) || lacksEarlier(wanted, found)) {
    const { replicas = 1 } = options;
    await whileAlone({ jsm, clock, replicas }, async () => await mend(jsm, wanted, log, clock));
  }
  // Those that were never made: whoever makes them, and how often, comes to the same.
  else await makeMissing(jsm, wanted, found, log);
  return incarnationOf(await lookUpAll(jsm, wanted));
}

/** Whether one is missing that was there: they are made in order, so where a later one is, it was. */
function lacksEarlier(wanted: readonly WantedStream[], found: ReadonlyMap<string, StreamInfo>): boolean {
  const lastFound = wanted.findLastIndex(({ name }) => found.has(name));
  return wanted.slice(0, Math.max(0, lastFound)).some(({ name }) => !found.has(name));
}

/** Makes what went missing, as the only one who does. */
async function mend(
  jsm: JetStreamManager,
  wanted: readonly WantedStream[],
  log: EventsLog,
  clock: Clock,
): Promise<void> {
  let found = await lookUpAll(jsm, wanted);
  if (lacksEarlier(wanted, found)) {
    await clock.sleep(goneMs);
    found = await lookUpAll(jsm, wanted);
  }
  await makeMissing(jsm, wanted, found, log);
  if (!isOlder(found)) return;
  log.warn({ stream: streams.state }, 'the events were lost: the state stream is made anew with them');
  await jsm.streams.delete(streams.state);
  found.delete(streams.state);
  await makeMissing(jsm, wanted, found, log);
}

function incarnationOf(found: ReadonlyMap<string, StreamInfo>): Incarnation {
  const lives = [streams.events, streams.state].map((name) => found.get(name));
  return lives.map((info) => info && lifeOf(info)).join(' ');
}

async function lookUpAll(
  jsm: JetStreamManager,
  wanted: readonly WantedStream[],
): Promise<Map<string, StreamInfo>> {
  const found = new Map<string, StreamInfo>();
  for (const { name } of wanted) {
    const info = await lookUp(jsm, name);
    if (info) found.set(name, info);
  }
  return found;
}

/** Whether the state is of events that are no more: then it waits for places that these may never reach. */
function isOlder(found: ReadonlyMap<string, StreamInfo>): boolean {
  const [events, state] = [found.get(streams.events), found.get(streams.state)];
  return events !== undefined && state !== undefined && isOfAnotherLife(state, events);
}

export function isStreamMissing(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound;
}

async function lookUp(jsm: JetStreamManager, name: string): Promise<StreamInfo | undefined> {
  try {
    return await jsm.streams.info(name);
  } catch (error) {
    if (isStreamMissing(error)) return undefined;
    throw error;
  }
}

async function makeMissing(
  jsm: JetStreamManager,
  wanted: readonly WantedStream[],
  found: Map<string, StreamInfo>,
  log: EventsLog,
): Promise<void> {
  for (const config of wanted) {
    if (found.has(config.name)) continue;
    log.info({ stream: config.name }, 'making a stream');
    const description = newLife(config.sources && found.get(streams.events));
    found.set(config.name, await make(jsm, { ...config, description }, log));
  }
}

/** What the broker says of a stream that somebody else made meanwhile. */
const nameInUse = 10058;

async function make(jsm: JetStreamManager, config: WantedStream, log: EventsLog): Promise<StreamInfo> {
  try {
    return await jsm.streams.add(config);
  } catch (refusal) {
    if (refusal instanceof JetStreamApiError && refusal.code === nameInUse)
      return await jsm.streams.info(config.name);
    // The broker refuses bounds larger than its disk; age then bounds the stream alone.
    if (config.max_bytes === undefined) throw asTooFewServers(refusal, config.num_replicas);
    const made = await jsm.streams.add({ ...config, max_bytes: -1 }).catch((error: unknown) => {
      throw asTooFewServers(error, config.num_replicas);
    });
    const facts = { stream: config.name, error: refusal };
    log.warn(facts, 'the broker refused the bound in bytes: it is left out');
    return made;
  }
}

/**
 * Raises the copies that streams have: they may be from before the broker became a cluster, or made by somebody who
 * did not know how many there should be. Safe to run from many processes at once. What the broker has no servers for
 * goes on as it is, and is said at each look.
 */
export async function raiseReplicas(
  jsm: JetStreamManager,
  found: readonly Pick<StreamInfo, 'config' | 'cluster'>[],
  replicas: number,
  log: Pick<EventsLog, 'error'>,
): Promise<void> {
  for (const { config, cluster } of found) {
    // A server alone (2.9) takes the number and makes no copy: what its streams say of copies cannot be relied on.
    const copies = cluster === undefined ? 1 : config.num_replicas;
    if (copies >= replicas) continue;
    try {
      if (cluster === undefined) throw tooFew(replicas, 'it is one server alone');
      await jsm.streams.update(config.name, { num_replicas: replicas });
    } catch (refusal) {
      const error = asTooFewServers(refusal, replicas);
      if (!(error instanceof Precondition)) throw error;
      return log.error({ stream: config.name, error }, error.message);
    }
  }
}

/** The broker's words for too few servers: that it is no cluster, and that it has no place for a copy. */
const tooFewServers: readonly number[] = [10074, 10005];

/** The error in an operator's words, where that is what the broker says. */
function asTooFewServers(error: unknown, replicas = 1): unknown {
  if (replicas === 1 || !(error instanceof JetStreamApiError) || !tooFewServers.includes(error.code))
    return error;
  return tooFew(replicas, error.message, error);
}

function tooFew(replicas: number, why: string, cause?: Error): Precondition {
  return new Precondition(
    'STATE_FORBIDS',
    `NEPHOS_NATS_REPLICAS asks for ${replicas} copies, and the broker has too few servers, or no room, for them: ${why}`,
    { cause },
  );
}
