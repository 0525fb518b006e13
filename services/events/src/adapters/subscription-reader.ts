/**
 * The durable subscriptions as the broker knows them. Nothing is kept here: each call asks anew.
 * What others made in forms of their own (several filters, pushed to them) is shown as it is.
 */
import { type ConsumerInfo, JetStreamApiCodes, JetStreamApiError } from '@nats-io/jetstream';
import { type EventTree, type Session, streamOf } from '@nephos/events';

/** A subscription, with what tells it from all others. */
export interface FoundSubscription {
  readonly tree: EventTree;
  readonly info: ConsumerInfo;
}

const trees: readonly EventTree[] = ['entities', 'jobs'];

export async function findSubscriptions({ jsm }: Session): Promise<FoundSubscription[]> {
  const found: FoundSubscription[] = [];
  for (const tree of trees) {
    for await (const info of jsm.consumers.list(streamOf(tree))) {
      if (info.config.durable_name !== undefined) found.push({ tree, info });
    }
  }
  return found;
}

/** Undefined where there is none. */
export async function findSubscription(
  { jsm }: Session,
  tree: EventTree,
  name: string,
): Promise<FoundSubscription | undefined> {
  try {
    const info = await jsm.consumers.info(streamOf(tree), name);
    return info.config.durable_name === undefined ? undefined : { tree, info };
  } catch (error) {
    if (isConsumerMissing(error)) return undefined;
    throw error;
  }
}

/** Gone already is success. */
export async function forgetSubscription({ jsm }: Session, tree: EventTree, name: string): Promise<void> {
  try {
    await jsm.consumers.delete(streamOf(tree), name);
  } catch (error) {
    if (!isConsumerMissing(error)) throw error;
  }
}

/** When the broker stored the oldest event that is not handled; undefined where all is. */
export async function oldestUnhandled(
  { jsm }: Session,
  { tree, info }: FoundSubscription,
): Promise<Date | undefined> {
  if (info.num_pending === 0 && info.num_ack_pending === 0) return undefined;
  const times: Date[] = [];
  for (const filter of filtersOf(info)) {
    const query = { seq: info.ack_floor.stream_seq + 1, next_by_subj: filter };
    const message = await jsm.streams.getMessage(streamOf(tree), query);
    if (message) times.push(message.time);
  }
  return times.sort((a, b) => a.getTime() - b.getTime())[0];
}

export function filtersOf({ config }: ConsumerInfo): string[] {
  return config.filter_subjects ?? [config.filter_subject ?? '>'];
}

/** Whether the broker has somebody to give the next event to, at this moment. */
export function hasReader({ num_waiting, push_bound }: ConsumerInfo): boolean {
  return num_waiting > 0 || push_bound === true;
}

function isConsumerMissing(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.code === JetStreamApiCodes.ConsumerNotFound;
}
