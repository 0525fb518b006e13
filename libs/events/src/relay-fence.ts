/**
 * Keeps a relay from telling the past: another relay of the same outbox may have published an event long ago, and
 * gone on from there, while this one stood still.
 * Owner: the relay. What it rests on: within its window the broker drops a repeat by its message id. A publish is
 * safe if it is acknowledged within a window of a moment at which the event was in no stream yet. Where no such
 * moment is known, or it is long ago, the stream is asked first; where the acknowledgement came late, the stream is
 * put in order afterwards. Only this process's own clocks measure that (docs/decisions/014).
 */
import type { Clock } from '@nephos/service';
import type { PendingEvent, Store } from '@nephos/store';
import type { Session } from './bus.ts';
import { payloadOf } from './cloudevent.ts';
import type { EventsLog } from './context.ts';
import { entitiesOf } from './entity-collection.ts';
import type { Lane } from './relay-lanes.ts';
import { streams } from './streams.ts';
import { type Entity, lastOf, type Placed, putInOrder } from './subject-order.ts';

/** Shares of the window: how old a moment may be when a publish begins, and when its acknowledgement is here. */
const trustShare = 0.5;
const lateShare = 0.75;

export interface FenceOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: EventsLog;
  /** Told how many messages were taken back. */
  readonly onTakenBack: (count: number) => void;
}

/** An entity whose messages from a place on are to be looked at, at a time of the monotonic clock. */
interface Doubt {
  readonly entity: Entity;
  readonly from: Placed;
  readonly dueAt: number;
}

export class Fence {
  readonly #options: FenceOptions;
  readonly #doubts = new Set<Doubt>();
  #session: Session | undefined;
  #windowMs = 0;

  constructor(options: FenceOptions) {
    this.#options = options;
  }

  /** Before anything is published in a session, and now and then: clears up what was left in doubt. */
  async check(session: Session): Promise<void> {
    if (this.#session !== session) {
      const names = [streams.events, streams.jobEvents];
      const infos = await Promise.all(names.map((name) => session.jsm.streams.info(name)));
      this.#windowMs = Math.min(...infos.map(({ config }) => config.duplicate_window / 1e6));
      this.#session = session;
    }
    const now = this.#options.clock.monotonic();
    for (const doubt of this.#doubts) if (doubt.dueAt <= now) await this.#clearUp(session, doubt);
  }

  /** Since when, by the monotonic clock, an event may be in a stream that this process just heard of. */
  writtenAt({ at }: PendingEvent): number {
    const { clock, store } = this.#options;
    // In an exclusive store nobody else can have published it; in a shared one this process may have stood still
    // between the write and hearing of it, and then only its own wall clock tells.
    const age = store.exclusive ? 0 : Math.max(0, clock.now().getTime() - Date.parse(at));
    return clock.monotonic() - age;
  }

  /** Whether the broker would surely drop the lane's head if another had published it. */
  trusts(lane: Lane): boolean {
    return this.#options.clock.monotonic() - lane.unpublishedSince <= this.#windowMs * trustShare;
  }

  /** Asks the stream whether it has the lane's head already. */
  async isPublished(session: Session, lane: Lane, event: PendingEvent): Promise<boolean> {
    const askedAt = this.#options.clock.monotonic();
    const last = await lastOf(session, entityOf(event));
    if (last && last.sequence >= event.seq && !(await this.#countsAnew(lane, last))) return true;
    lane.unpublishedSince = askedAt;
    lane.last = last ?? { place: 0, sequence: 0 };
    return false;
  }

  /** After an acknowledgement: makes sure that the event stands where it belongs. Undefined: it does. */
  settle(
    session: Session,
    lane: Lane,
    event: PendingEvent,
    sentAt: number,
    placed: Placed,
  ): Promise<void> | undefined {
    const { clock, store } = this.#options;
    const now = clock.monotonic();
    const from = lane.last;
    lane.last = placed;
    // Another relay may be publishing one by one what this one found collapsed, under other ids. Once a window has
    // passed, it asks before it goes on.
    const isShared = event.firstSeq < event.seq && !store.exclusive;
    if (isShared) this.#doubts.add({ entity: entityOf(event), from: placed, dueAt: now + this.#windowMs });
    if (now - lane.unpublishedSince > this.#windowMs * lateShare)
      return this.#clearUp(session, { entity: entityOf(event), from, dueAt: now });
    // What follows in the lane was published by nobody before this one was.
    lane.unpublishedSince = sentAt;
    return undefined;
  }

  async putInOrder(session: Session, entity: Entity, from: Placed): Promise<void> {
    const takenBack = await putInOrder(session, entity, from);
    if (takenBack === 0) return;
    const facts = { ...entity.address, takenBack };
    this.#options.log.warn(facts, 'events were published behind newer ones: they are taken back');
    this.#options.onTakenBack(takenBack);
  }

  async #clearUp(session: Session, doubt: Doubt): Promise<void> {
    this.#doubts.add(doubt);
    await this.putInOrder(session, doubt.entity, doubt.from);
    this.#doubts.delete(doubt);
  }

  /** Whether the store itself is behind the stream, as one that was restored is: then its events are news. */
  async #countsAnew(lane: Lane, last: Placed): Promise<boolean> {
    if (last.sequence <= lane.counter) return false;
    const stored = await entitiesOf(this.#options.store).get(lane.collection)?.documents.get(lane.id);
    return stored !== undefined && stored.eventSeq < last.sequence;
  }
}

function entityOf(event: PendingEvent): Entity {
  const { tree, address } = payloadOf(event.payload);
  return { tree, address };
}
