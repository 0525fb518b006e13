/**
 * Reads every event that the broker holds, in the streams' order, as a stranger with a plain NATS client would:
 * nothing here knows the platform's own subscriber or its types. The directory keeps its records in the broker too.
 */
import { type JsMsg, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { type NatsAddress, natsOptions } from '@nephos/events/testing';
import type { Counter, SeenEvent } from './judge.ts';

const streams = ['NEPHOS_EVENTS', 'NEPHOS_JOB_EVENTS'];
const directoryBucket = 'KV_nephos-directory';

interface Body {
  readonly sequence: string;
  readonly data: { readonly collapsedFromSequence?: string };
}

/** All events from the first on. */
export async function readEvents(nats: NatsAddress): Promise<SeenEvent[]> {
  const read = await Promise.all(streams.map((stream) => readStream(nats, stream)));
  return read.flat().map((message) => eventOf(message.subject, message.json<Body>()));
}

interface DirectoryRecord {
  readonly uid: string;
  readonly eventSeq: number;
  readonly pending?: { readonly firstSeq: number; readonly seq: number };
}

/** What the directory counted, of the instances that it knows or knew. */
export async function readDirectoryCounters(nats: NatsAddress): Promise<Counter[]> {
  const messages = await readStream(nats, directoryBucket);
  return messages.flatMap((message): Counter[] => {
    if (message.data.length === 0) return [];
    const { uid, eventSeq, pending } = message.json<DirectoryRecord>();
    const waiting = pending ? [{ firstSequence: pending.firstSeq, sequence: pending.seq }] : [];
    return [{ uid, entity: 'instance', eventSeq, pending: waiting }];
  });
}

/** All that the stream holds now. */
async function readStream(nats: NatsAddress, stream: string): Promise<JsMsg[]> {
  const connection = await connect(natsOptions(nats));
  try {
    const { state } = await (await jetstreamManager(connection)).streams.info(stream);
    const read: JsMsg[] = [];
    if (state.messages === 0) return read;
    const consumer = await jetstream(connection).consumers.get(stream);
    for await (const message of await consumer.consume()) {
      read.push(message);
      if (message.seq >= state.last_seq) break;
    }
    return read;
  } finally {
    await connection.close();
  }
}

/** Subject: `<root>.v1.<owner>.<zone>.<entity>.<id>`. */
function eventOf(subject: string, { sequence, data }: Body): SeenEvent {
  const [, , , , entity = '', uid = ''] = subject.split('.');
  const last = Number(sequence);
  return { entity, uid, sequence: last, firstSequence: Number(data.collapsedFromSequence ?? last) };
}
