/** The peer's stream: bounds and dedup window of ours; beside it nothing, or a state stream like ours. */
import { jetstreamManager } from '@nats-io/jetstream';
import { connect, nanos } from '@nats-io/transport-node';
import { streams } from '@nephos/events';
import { uidOf } from './commands.ts';

export const rawStream = 'RAW';

export const rawSubjects = {
  all: 'nephos.v1.>',
  of: (uid: string): string => `nephos.v1.acme.${uidOf(4)}.vm.${uid}`,
};

/** Makes the stream and a durable consumer with explicit acknowledgements for each subscriber. */
export async function makeRawStream(servers: string, subscribers: number, withState: boolean): Promise<void> {
  const connection = await connect({ servers });
  const jsm = await jetstreamManager(connection);
  await jsm.streams.add({
    name: rawStream,
    subjects: [rawSubjects.all],
    storage: 'file',
    retention: 'limits',
    discard: 'old',
    max_age: nanos(7 * 24 * 60 * 60 * 1000),
    duplicate_window: nanos(2 * 60 * 1000),
    allow_direct: true,
  });
  if (withState) {
    const sources = [{ name: rawStream }];
    await jsm.streams.add({
      name: 'RAW_STATE',
      storage: 'file',
      sources,
      max_msgs_per_subject: 1,
      allow_direct: true,
    });
  }
  for (let at = 0; at < subscribers; at += 1) {
    await jsm.consumers.add(rawStream, {
      durable_name: rawConsumer(at),
      filter_subject: 'nephos.v1.*.*.vm.*',
      ack_policy: 'explicit',
      ack_wait: nanos(30_000),
      max_ack_pending: 1000,
      deliver_policy: 'all',
    });
  }
  await connection.drain();
}

export function rawConsumer(at: number): string {
  return `bench-${at}`;
}

/** The newest event of ours, as it lies in the stream. */
export async function newestOfOurs(servers: string): Promise<string> {
  const connection = await connect({ servers });
  const jsm = await jetstreamManager(connection);
  const message = await jsm.streams.getMessage(streams.events, { last_by_subj: rawSubjects.all });
  await connection.drain();
  if (message === null) throw new Error('no event of ours is there to take its bytes from');
  return message.string();
}
