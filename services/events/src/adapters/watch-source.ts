/**
 * What a watch asks of the broker beside its messages: where to begin, whether all after a position is still there.
 * Invariant: a position that was let pass has everything after it in the stream, as of the moment it was asked.
 */
import { DeliverPolicy, type StreamInfo } from '@nats-io/jetstream';
import { nanos } from '@nats-io/nats-core';
import { filterSubject, lifeOf, type Session, sourcePlace, streamOf, streams } from '@nephos/events';
import type { Selection } from '../domain/filter.ts';
import { type Binding, bindingOf, type Position, resyncRequired } from '../domain/resume-token.ts';

/** Where a watch without a token begins. */
export type Start = 'now' | 'earliest' | 'snapshot' | Date;

export class WatchSource {
  readonly stream: string;
  readonly filter: string;

  constructor({ tree, filter }: Selection) {
    this.stream = streamOf(tree);
    this.filter = filterSubject(tree, filter);
  }

  /** What tokens are bound to now. */
  async binding({ jsm }: Session): Promise<Binding> {
    return this.#bindingOf(await jsm.streams.info(this.stream));
  }

  async begin(session: Session, start: Start): Promise<Position> {
    const { state } = await session.jsm.streams.info(this.stream);
    const last = { place: state.last_seq, mark: timeOf(state.last_ts, state.messages) };
    if (start === 'now') return last;
    if (start === 'earliest') return { place: Math.max(0, state.first_seq - 1), mark: 0 };
    if (start instanceof Date) {
      const keptSince = timeOf(state.first_ts, state.messages);
      if (state.first_seq > 1 && (state.messages === 0 || start.getTime() < keptSince)) {
        throw resyncRequired(`events are kept from ${new Date(keptSince).toISOString()} on`);
      }
      return (await this.#firstSince(session, start)) ?? last;
    }
    // Behind what is kept, the state stands for all that is gone.
    const place = Math.max(await lastOfState(session), state.first_seq - 1, 0);
    return { place, mark: 0, state: 0 };
  }

  /** Throws `OutOfRange` where the stream does not hold all that follows the position. Returns the stream's end. */
  async check(session: Session, position: Position, binding: Binding): Promise<Position> {
    const info = await session.jsm.streams.info(this.stream);
    const { first_seq, last_seq, last_ts, messages } = info.state;
    if (this.#bindingOf(info).stream !== binding.stream) throw resyncRequired('the streams were made anew');
    if (position.place + 1 < first_seq) throw resyncRequired(`events are kept from place ${first_seq} on`);
    if (position.place > last_seq) throw resyncRequired('the broker lost its newest events');
    return { place: last_seq, mark: timeOf(last_ts, messages) };
  }

  /** Throws `OutOfRange` where another message lies at the position than the one that was told. */
  async checkMark({ jsm }: Session, { place, mark }: Position): Promise<void> {
    if (place === 0 || mark === 0) return;
    const message = await jsm.streams.getMessage(this.stream, { seq: place });
    if (message && message.time.getTime() !== mark) throw resyncRequired('the broker lost its newest events');
  }

  /** Just before the first event that was stored at that time or later; undefined where there is none. */
  async #firstSince(session: Session, time: Date): Promise<Position | undefined> {
    const info = await session.jsm.consumers.add(this.stream, {
      ack_policy: 'none',
      deliver_policy: DeliverPolicy.StartTime,
      opt_start_time: time.toISOString(),
      headers_only: true,
      inactive_threshold: nanos(10_000),
      mem_storage: true,
      num_replicas: 1,
    });
    const consumer = session.js.consumers.getConsumerFromInfo(info);
    try {
      if (info.num_pending === 0) return undefined;
      const first = await consumer.next({ expires: 2_000 });
      return first ? { place: first.seq - 1, mark: 0 } : undefined;
    } finally {
      await consumer.delete().catch(() => false);
    }
  }

  #bindingOf(info: StreamInfo): Binding {
    return bindingOf(`${info.config.name} ${lifeOf(info)}`, this.filter);
  }
}

/** The event that the state stream took last: all up to it are in the state. 0 where that cannot be told. */
async function lastOfState({ jsm, js }: Session): Promise<number> {
  const info = await jsm.consumers.add(streams.state, {
    ack_policy: 'none',
    deliver_policy: DeliverPolicy.Last,
    headers_only: true,
    inactive_threshold: nanos(10_000),
    mem_storage: true,
    num_replicas: 1,
  });
  const consumer = js.consumers.getConsumerFromInfo(info);
  try {
    if (info.num_pending === 0) return 0;
    const last = await consumer.next({ expires: 2_000 });
    return sourcePlace(last?.headers);
  } finally {
    await consumer.delete().catch(() => false);
  }
}

/** Milliseconds since 1970; 0 where the stream is empty. */
function timeOf(text: string, messages: number): number {
  const time = Date.parse(text);
  return messages === 0 || Number.isNaN(time) ? 0 : Math.max(0, time);
}
