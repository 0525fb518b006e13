/**
 * A third party's two consumers at the broker: one on the state stream, for a snapshot, and one on the events, both
 * cut to the slice and bearing the account's key as their name. The platform makes them, so that a third party needs
 * no right to make any. Every function is safe to repeat, and by several processes at once.
 */
import { type ConsumerConfig, JetStreamApiCodes, JetStreamApiError } from '@nats-io/jetstream';
import { nanos } from '@nats-io/nats-core';
import { filterSubject, type Session, sourcePlace, streams } from '@nephos/events';
import { thirdPartyStreams } from '@nephos/nats-accounts';
import type { CredentialRecord } from './record.ts';

type Jsm = Session['jsm'];

const limits = {
  ack_policy: 'explicit',
  ack_wait: nanos(30_000),
  max_ack_pending: 1_000,
  /** Requests for messages that wait at a time. */
  max_waiting: 32,
  max_batch: 1_000,
  max_expires: nanos(10 * 60_000),
} as const satisfies Partial<ConsumerConfig>;

type Wanted = Pick<
  CredentialRecord,
  'account' | 'slice' | 'start' | 'generation' | 'madeGeneration' | 'header'
>;

/** Makes what is missing or of an older generation. */
export async function ensureConsumers(jsm: Jsm, wanted: Wanted): Promise<void> {
  // The place to follow from is looked up before the snapshot begins: what changes between comes twice, not never.
  const start = await startingPoint(jsm, wanted);
  for (const stream of [streams.events, streams.state] as const) {
    const description = `${wanted.header.uid} #${wanted.generation}`;
    const found = await lookUp(jsm, stream, wanted.account);
    if (found?.description === description) continue;
    if (found) await removeConsumer(jsm, stream, wanted.account);
    await jsm.consumers.add(stream, {
      ...limits,
      durable_name: wanted.account,
      description,
      filter_subject: filterSubject('entities', wanted.slice),
      ...(stream === streams.events ? start : { deliver_policy: 'all' }),
    });
  }
}

/** Gone already is success. */
export async function removeConsumers(jsm: Jsm, account: string): Promise<void> {
  for (const stream of thirdPartyStreams) await removeConsumer(jsm, stream, account);
}

type Start = Partial<Pick<ConsumerConfig, 'deliver_policy' | 'opt_start_seq' | 'opt_start_time'>>;

async function startingPoint(jsm: Jsm, { start, generation, madeGeneration }: Wanted): Promise<Start> {
  // Made before and missing now, it was lost with its stream: all that is there is news.
  if (generation === madeGeneration || start.from === 'all') return { deliver_policy: 'all' };
  if (start.from === 'time') return { deliver_policy: 'by_start_time', opt_start_time: start.time };
  return { deliver_policy: 'by_start_sequence', opt_start_seq: (await placeOfState(jsm)) + 1 };
}

/** Up to where the snapshot stands for the events, at least. */
async function placeOfState(jsm: Jsm): Promise<number> {
  const { state } = await jsm.streams.info(streams.state);
  if (state.messages === 0) return 0;
  const last = await jsm.streams.getMessage(streams.state, { seq: state.last_seq }).catch(ifMissing);
  return sourcePlace(last?.header);
}

async function lookUp(jsm: Jsm, stream: string, name: string): Promise<ConsumerConfig | undefined> {
  return (await jsm.consumers.info(stream, name).catch(ifMissing))?.config;
}

async function removeConsumer(jsm: Jsm, stream: string, name: string): Promise<void> {
  await jsm.consumers.delete(stream, name).catch(ifMissing);
}

const missing: ReadonlySet<number> = new Set([
  JetStreamApiCodes.ConsumerNotFound,
  JetStreamApiCodes.NoMessageFound,
]);

function ifMissing(error: unknown): undefined {
  if (error instanceof JetStreamApiError && missing.has(error.code)) return undefined;
  throw error;
}
