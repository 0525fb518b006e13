/**
 * States all entities again when the broker lost what it had acknowledged.
 * Owner: the relay. A record in the store says in which life of the streams the relay published, and which
 * message it saw acknowledged last; when the streams were made anew, or that message is not where it was, each
 * entity is published as one event that stands for all its sequences so far. The record moves on only after
 * that: a crash between repeats it, and subscribers drop what they know.
 */
import { AlreadyExists, Conflict } from '@nephos/service';
import { type Collection, defineCollection, type Store, type Stored } from '@nephos/store';
import { encodeWithin } from './bounded-event.ts';
import type { Session } from './bus.ts';
import { eventId } from './cloudevent.ts';
import type { EventsContext } from './context.ts';
import { entitiesOf, type OpenedEntity } from './entity-collection.ts';
import type { Fence } from './relay-fence.ts';
import { streams } from './streams.ts';
import { subjectOf } from './subject.ts';
import { lastOf, repeatHeader } from './subject-order.ts';

interface Position {
  readonly incarnation: string;
  /** Of the last message seen acknowledged, in NEPHOS_EVENTS; 0 while there was none. */
  readonly streamSequence: number;
  readonly messageId: string;
}

const positions = defineCollection<Position>({ name: 'event_relay', schemaVersion: 1, indexes: {} });
const positionId = 'position';
const pageSize = 200;
const rememberEveryMs = 5_000;

export class Restatement {
  readonly #store: Store;
  readonly #context: EventsContext;
  readonly #fence: Fence;
  #checked: Session | undefined;
  #incarnation = '';
  #latest = { streamSequence: 0, messageId: '' };
  #rememberedAt = 0;

  constructor(store: Store, context: EventsContext, fence: Fence) {
    this.#store = store;
    this.#context = context;
    this.#fence = fence;
  }

  /** Before anything else is published in a session. Throws when the session or the store fails. */
  async check(session: Session): Promise<void> {
    if (this.#checked === session) return await this.#rememberNowAndThen();
    const collection = await this.#positions();
    const known = await collection.get(positionId);
    if (known && (await hasLost(session, known.value))) {
      this.#context.log.warn(
        { incarnation: session.incarnation },
        'the broker lost events: stating all entities again',
      );
      for (const entity of entitiesOf(this.#store).values()) await this.#restate(session, entity);
      this.#latest = { streamSequence: 0, messageId: '' };
    } else if (known && this.#latest.streamSequence === 0) {
      this.#latest = { streamSequence: known.value.streamSequence, messageId: known.value.messageId };
    }
    this.#incarnation = session.incarnation;
    await this.remember();
    this.#checked = session;
  }

  /** Told of each acknowledgement by NEPHOS_EVENTS. */
  acknowledged(streamSequence: number, messageId: string): void {
    if (streamSequence > this.#latest.streamSequence) this.#latest = { streamSequence, messageId };
  }

  /** Writes the record. */
  async remember(): Promise<void> {
    if (this.#incarnation === '') return;
    const collection = await this.#positions();
    const next: Position = { incarnation: this.#incarnation, ...this.#latest };
    this.#rememberedAt = this.#context.clock.monotonic();
    try {
      const same = ({ value }: Stored<Position>): boolean =>
        value.incarnation === next.incarnation && value.streamSequence === next.streamSequence;
      if (await collection.get(positionId)) {
        await collection.modify(positionId, (current) => (same(current) ? undefined : { value: next }));
      } else await collection.insert(positionId, next);
    } catch (error) {
      // Another relay of the same store wrote it meanwhile, which serves as well.
      if (!(error instanceof Conflict || error instanceof AlreadyExists)) throw error;
    }
  }

  async #rememberNowAndThen(): Promise<void> {
    if (this.#context.clock.monotonic() - this.#rememberedAt > rememberEveryMs) await this.remember();
  }

  #positions(): Promise<Collection<Position>> {
    return this.#store.collection(positions);
  }

  async #restate(session: Session, entity: OpenedEntity): Promise<void> {
    let cursor: string | undefined;
    do {
      const query = { limit: pageSize, ...(cursor !== undefined && { cursor }) };
      const page = await entity.documents.find(query);
      await Promise.all(page.items.map((stored) => this.#publish(session, entity, stored)));
      cursor = page.nextCursor;
    } while (cursor !== undefined);
  }

  async #publish(session: Session, entity: OpenedEntity, found: Stored<unknown>): Promise<void> {
    const payload = entity.restate(found);
    if (found.eventSeq === 0 || payload.tree !== 'entities') return;
    const last = (await lastOf(session, payload)) ?? { place: 0, first: 0, sequence: 0 };
    // Another relay has stated it already.
    if (last.first === 1 && last.sequence >= found.eventSeq) return;
    if (last.sequence > found.eventSeq) {
      const newer = await entity.documents.get(found.id);
      if (newer && newer.eventSeq > found.eventSeq) await this.#publish(session, entity, newer);
      return;
    }
    const pending = { seq: found.eventSeq, firstSeq: 1, at: this.#context.clock.now().toISOString() };
    const body = encodeWithin(payload, pending, session.publisher);
    const messageId = `${eventId(payload.address, found.eventSeq)}/restated/${session.incarnation}`;
    // The newest event may be here, from before it was noticed that those before it are not.
    const headers: Record<string, string> = last.sequence === found.eventSeq ? { [repeatHeader]: '1' } : {};
    await session.publisher.publish(subjectOf(payload.tree, payload.address), body, messageId, headers);
    await this.#fence.putInOrder(session, payload, last);
  }
}

/** Whether the streams still hold what was acknowledged, as far as can be told. */
async function hasLost(session: Session, known: Position): Promise<boolean> {
  if (known.incarnation !== session.incarnation) return true;
  if (known.streamSequence === 0) return false;
  const { state } = await session.jsm.streams.info(streams.events);
  if (known.streamSequence > state.last_seq) return true;
  if (known.streamSequence < state.first_seq) return false;
  const message = await session.jsm.streams.getMessage(streams.events, { seq: known.streamSequence });
  return message !== null && message.header.get('Nats-Msg-Id') !== known.messageId;
}
