/**
 * What the world sees, judged against the store: reads the streams by the NATS client alone, with nothing of the
 * events library, so that a fault of that library cannot hide itself.
 * `lost`: a sequence that nobody told. `doubled`: one told twice. `disordered`: one told behind a later one.
 */
import { jetstream } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { type NatsAddress, natsOptions } from '@nephos/events/testing';

/** One telling of an entity's events `first` to `sequence`. */
export interface Told {
  readonly entity: string;
  readonly first: number;
  readonly sequence: number;
  /** What the resource said then. */
  readonly description?: string | undefined;
  /** Says of itself that it tells the newest once more. */
  readonly isRepeat?: boolean;
  /** Says of itself that it stands for what was lost. */
  readonly isRestated?: boolean;
}

/** An entity as the store has it. */
export interface Kept {
  readonly counter: number;
  readonly description: string;
}

export interface Verdict {
  readonly lost: number;
  readonly doubled: number;
  readonly disordered: number;
}

interface CloudEvent {
  readonly type: string;
  readonly sequence: string;
  readonly data: {
    readonly collapsedFromSequence?: string;
    readonly new?: { readonly description?: string };
  };
}

/** All messages of a stream, as they lie in it. */
export async function readStream(nats: NatsAddress, stream: string): Promise<Told[]> {
  const connection = await connect(natsOptions(nats));
  try {
    const consumer = await jetstream(connection).consumers.get(stream);
    const told: Told[] = [];
    for (let left = (await consumer.info()).num_pending; left > 0; ) {
      const messages = await consumer.fetch({ max_messages: Math.min(left, 1_000), expires: 2_000 });
      let came = 0;
      for await (const message of messages) {
        came += 1;
        const { type, sequence, data } = message.json<CloudEvent>();
        left = message.info.pending;
        told.push({
          entity: message.subject.split('.').at(-1) ?? '',
          first: Number(data.collapsedFromSequence ?? sequence),
          sequence: Number(sequence),
          description: data.new?.description ?? '',
          isRestated: type.endsWith('.restated'),
          isRepeat: message.headers?.has('Nephos-Repeat') === true,
        });
      }
      // What was pending may have been replaced meanwhile, and a cluster's count may be off.
      if (came === 0) left = (await consumer.info()).num_pending;
    }
    return told;
  } finally {
    await connection.close();
  }
}

export function judge(told: readonly Told[], kept: ReadonlyMap<string, Kept>): Verdict {
  const seen = new Map<string, { covered: Set<number>; last: number }>();
  let [lost, doubled, disordered] = [0, 0, 0];
  for (const { entity, first, sequence, isRepeat } of told) {
    const known = seen.get(entity) ?? { covered: new Set<number>(), last: 0 };
    seen.set(entity, known);
    if (sequence < known.last) disordered += 1;
    else if (sequence === known.last && !isRepeat) doubled += 1;
    for (let at = first; at <= sequence; at += 1) known.covered.add(at);
    known.last = Math.max(known.last, sequence);
  }
  for (const [entity, { counter }] of kept) {
    const covered = seen.get(entity)?.covered;
    for (let at = 1; at <= counter; at += 1) if (!covered?.has(at)) lost += 1;
  }
  return { lost, doubled, disordered };
}

/** Entities whose last word in the state stream is not what the store has. */
export function staleOf(state: readonly Told[], kept: ReadonlyMap<string, Kept>): string[] {
  const last = new Map(state.map((told) => [told.entity, told]));
  return [...kept].flatMap(([entity, { counter, description }]) => {
    const told = last.get(entity);
    if (told?.sequence === counter && told.description === description) return [];
    return [`${entity}: ${told?.sequence ?? 'nothing'} instead of ${counter}`];
  });
}
