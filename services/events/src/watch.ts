/**
 * One watch: a snapshot if asked for, then the events after its position, as long as its caller listens.
 * It holds nothing but its position: what the broker knows of it is forgotten soon after, and any replica goes on from
 * its token. Nothing is read ahead of a caller that reads slowly but one bounded group of messages.
 */
import type { JsMsg } from '@nats-io/jetstream';
import { type Bus, decodeEvent, removedHeader, type Session, sourcePlace, streams } from '@nephos/events';
import type { WatchResponse } from '@nephos/proto/nephos/events/v1/event_service';
import { type Call, type DeepPartial, durationOf, NephosError } from '@nephos/service';
import { StreamReader } from './adapters/stream-reader.ts';
import type { Start, WatchSource } from './adapters/watch-source.ts';
import { type Binding, decodeResumeToken, encodeResumeToken, type Position } from './domain/resume-token.ts';

export type Response = DeepPartial<WatchResponse>;
type Said = NonNullable<Response['message']>;

export interface WatchOptions {
  readonly bus: Bus;
  readonly source: WatchSource;
  /** A resume token, or where to begin. */
  readonly from: { readonly token: string } | { readonly start: Start };
  readonly log: Call['log'];
  readonly heartbeatMs: number;
  /** Ends it. */
  readonly over: AbortSignal;
}

const retryMs = 250;

export class Watch {
  readonly #options: WatchOptions;
  #position: Position | undefined;
  #binding: Binding | undefined;
  #toldAt: number;

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#toldAt = options.bus.clock.monotonic();
  }

  /** Where it stands; empty while it has not begun. */
  get token(): string {
    return this.#position && this.#binding ? encodeResumeToken(this.#position, this.#binding) : '';
  }

  /** Until it is over. Throws `Invalid` and `OutOfRange`, which only the caller can do something about. */
  async *run(): AsyncGenerator<Response> {
    const { bus, log, over } = this.#options;
    while (!over.aborted) {
      try {
        const session = await this.#session();
        if (session) yield* this.#attend(session);
      } catch (error) {
        if (over.aborted) return;
        if (error instanceof NephosError && (error.kind === 'out-of-range' || error.kind === 'invalid'))
          throw error;
        log.debug({ err: error }, 'a watch begins again where it was');
        await bus.clock.sleep(retryMs, over).catch(() => undefined);
      }
      if (!over.aborted && this.#isQuiet()) yield this.#heartbeat(false);
    }
  }

  /** Undefined when there is none for as long as the next sign of life may wait. */
  async #session(): Promise<Session | undefined> {
    const { bus, heartbeatMs, over } = this.#options;
    const waited = new AbortController();
    using _timer = bus.clock.timer(heartbeatMs, () => waited.abort());
    try {
      return await bus.ready(AbortSignal.any([over, waited.signal]));
    } catch (error) {
      if (waited.signal.aborted) return undefined;
      throw error;
    }
  }

  async *#attend(session: Session): AsyncGenerator<Response> {
    const { source } = this.#options;
    const isFirst = this.#position === undefined;
    const binding = (this.#binding ??= await source.binding(session));
    const position = (this.#position ??= await this.#begin(session, binding));
    const end = await source.check(session, position, binding);
    await source.checkMark(session, position);
    if (isFirst && position.state === undefined) yield this.#heartbeat(position.place === end.place);
    if (position.state !== undefined) yield* this.#snapshot(session, position);
    yield* this.#follow(session, binding);
  }

  async #begin(session: Session, binding: Binding): Promise<Position> {
    const { from, source } = this.#options;
    return 'token' in from ? decodeResumeToken(from.token, binding) : await source.begin(session, from.start);
  }

  /**
   * The state of each entity that has not changed since the position; what has comes as a change after it. So no
   * event is told twice or before an older one, and there is nothing to be remembered.
   */
  async *#snapshot(session: Session, begun: Position): AsyncGenerator<Response> {
    const { place, mark, state: from = 0 } = begun;
    const { state } = await session.jsm.streams.info(streams.state);
    let until = begun.until ?? 0;
    for await (const message of this.#states(session, from, state.last_seq)) {
      const changedAt = sourcePlace(message.headers);
      if (changedAt > place) until = Math.max(until, changedAt);
      this.#position = { place, mark, state: message.seq, until };
      if (changedAt <= place && !message.headers?.has(removedHeader)) yield* this.#event('snapshot', message);
    }
    if (this.#options.over.aborted) return;
    this.#position = until > place ? { place, mark, until } : { place, mark };
    if (until <= place) yield this.#say({ $case: 'synced', value: {} });
  }

  async *#states(session: Session, from: number, last: number): AsyncGenerator<JsMsg> {
    if (from >= last) return;
    const { source, over, heartbeatMs } = this.#options;
    using reader = await StreamReader.open(session, streams.state, source.filter, from);
    while (!over.aborted && !(await reader.isThrough())) {
      for await (const group of reader.pull(heartbeatMs, over)) {
        for (const message of group) {
          // What lies behind has changed since: it comes as a change.
          if (message.seq > last) return;
          yield message;
          if (message.seq === last) return;
        }
        if (group.at(-1)?.info.pending === 0) return;
      }
    }
  }

  async *#follow(session: Session, binding: Binding): AsyncGenerator<Response> {
    const { source, over, heartbeatMs } = this.#options;
    using reader = await StreamReader.open(session, source.stream, source.filter, this.#stood().place);
    while (!over.aborted) {
      for await (const group of reader.pull(heartbeatMs, over)) {
        // Before any of them is told: a caller that stood still may have lost what was before them.
        await source.check(session, this.#stood(), binding);
        for (const message of group) yield* this.#change(message);
      }
      if (over.aborted || !this.#isQuiet()) continue;
      const end = await source.check(session, this.#stood(), binding);
      const isThrough = await reader.isThrough();
      if (isThrough) yield* this.#advance(end);
      yield this.#heartbeat(isThrough);
    }
  }

  async *#change(message: JsMsg): AsyncGenerator<Response> {
    const { until } = this.#stood();
    const place = message.seq;
    const isSynced = until !== undefined && place >= until;
    const position = { place, mark: message.time.getTime() };
    // A token stands for what comes after its message, and that may be `synced`.
    this.#position = until === undefined ? position : { ...position, until };
    yield* this.#event('change', message);
    this.#position = isSynced || until === undefined ? position : { ...position, until };
    if (isSynced) yield this.#say({ $case: 'synced', value: {} });
  }

  /** To the stream's end, of which nothing is left to tell: a quiet filter must not fall behind what is kept. */
  async *#advance(end: Position): AsyncGenerator<Response> {
    const { place, until } = this.#stood();
    if (end.place > place) this.#position = until === undefined ? end : { ...end, until };
    if (until === undefined || end.place < until) return;
    this.#position = end;
    yield this.#say({ $case: 'synced', value: {} });
  }

  *#event(kind: 'snapshot' | 'change', message: JsMsg): Generator<Response> {
    const cloudEvent = message.string();
    try {
      const event = decodeEvent(message.subject, cloudEvent);
      const { id, entity, verb, source, subject, uid, owner, zone, time } = event;
      const type = `dev.nephos.${entity}.v1.${verb}`;
      const sequence = BigInt(event.sequence);
      const firstSequence = BigInt(event.firstSequence);
      const place = { entity, verb, uid, owner, zone, sequence, firstSequence };
      const value = { cloudEvent, id, type, source, subject, time, ...place };
      yield this.#say({ $case: kind, value });
    } catch (error) {
      const { subject, seq } = message;
      if (!(error instanceof NephosError)) throw error;
      this.#options.log.warn(
        { err: error, subject, place: seq },
        'a message is not an event: it is passed over',
      );
    }
  }

  #heartbeat(caughtUp: boolean): Response {
    const interval = durationOf(this.#options.heartbeatMs);
    return this.#say({ $case: 'heartbeat', value: { interval, caughtUp } });
  }

  #say(message: Said): Response {
    this.#toldAt = this.#options.bus.clock.monotonic();
    return { resumeToken: this.token, message };
  }

  #isQuiet(): boolean {
    const { bus, heartbeatMs } = this.#options;
    // A pull that waited for as long ends a little early.
    return bus.clock.monotonic() - this.#toldAt >= heartbeatMs * 0.8;
  }

  #stood(): Position {
    if (!this.#position) throw new Error('a watch that has not begun stands nowhere');
    return this.#position;
  }
}
