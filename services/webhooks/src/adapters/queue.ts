/**
 * What waits to be sent to one webhook, in memory: in order per subject, a few at a time, each no sooner than it is
 * due. Owner: one line of the bridge. An endpoint that fails gets one request at a time until one goes well, so that
 * it is not overrun when it comes back. A crash loses nothing: all of it is in the delivery log.
 */
import type { Clock } from '@nephos/service';
import type { StoredDelivery } from './delivery-log.ts';

/** Requests under way to one endpoint. */
const concurrency = 4;
/** Deliveries held in memory; what is behind them waits where it is. */
export const window = 1000;
/** Before an attempt whose record could not be read or written is made again. */
const afterErrorMs = 1000;

/** One attempt; returns the delivery as it is stored now, or nothing where it does not wait any more. */
export type TryOnce = (delivery: StoredDelivery) => Promise<StoredDelivery | undefined>;

interface Lane {
  readonly subject: string;
  readonly waiting: StoredDelivery[];
  busy: boolean;
}

export class Queue implements AsyncDisposable {
  readonly #clock: Clock;
  readonly #tryOnce: TryOnce;
  readonly #onError: (error: unknown) => void;
  readonly #lanes = new Map<string, Lane>();
  readonly #known = new Set<string>();
  readonly #running = new Set<Promise<void>>();
  #timer: Disposable | undefined;
  #failing = false;
  #closed = false;
  #onRoom: (() => void)[] = [];

  constructor(clock: Clock, tryOnce: TryOnce, onError: (error: unknown) => void) {
    this.#clock = clock;
    this.#tryOnce = tryOnce;
    this.#onError = onError;
  }

  get size(): number {
    return this.#known.size;
  }

  /** Takes a delivery, or what became of it where it is known. */
  add(delivery: StoredDelivery): void {
    if (this.#closed) return;
    const { subject } = delivery.value;
    const lane = this.#lanes.get(subject) ?? { subject, waiting: [], busy: false };
    this.#lanes.set(subject, lane);
    if (this.#known.has(delivery.id)) replaceOlder(lane, delivery);
    else insertInOrder(lane, delivery);
    this.#known.add(delivery.id);
    this.#pump();
  }

  /** Resolves once there is room for more. */
  async room(signal: AbortSignal): Promise<void> {
    while (this.#known.size >= window && !signal.aborted && !this.#closed) {
      const woken = Promise.withResolvers<void>();
      this.#onRoom.push(woken.resolve);
      const onAbort = (): void => woken.resolve();
      signal.addEventListener('abort', onAbort, { once: true });
      await woken.promise;
      signal.removeEventListener('abort', onAbort);
    }
    signal.throwIfAborted();
  }

  /** Waits for the requests under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#timer?.[Symbol.dispose]();
    this.#wakeWaiting();
    await Promise.all(this.#running);
  }

  #pump(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
    if (this.#closed) return;
    const now = this.#clock.now().getTime();
    let soonest = Number.POSITIVE_INFINITY;
    for (const lane of this.#lanes.values()) {
      if (this.#running.size >= (this.#failing ? 1 : concurrency)) return;
      const head = lane.waiting[0];
      if (lane.busy || head === undefined) continue;
      const due = Date.parse(head.value.nextAttemptTime ?? '');
      if (due > now) soonest = Math.min(soonest, due);
      else this.#start(lane, head);
    }
    if (soonest < Number.POSITIVE_INFINITY)
      this.#timer = this.#clock.timer(soonest - now, () => this.#pump());
  }

  #start(lane: Lane, delivery: StoredDelivery): void {
    lane.busy = true;
    const work = this.#attempt(lane, delivery).finally(() => {
      this.#running.delete(work);
      this.#pump();
    });
    this.#running.add(work);
  }

  async #attempt(lane: Lane, delivery: StoredDelivery): Promise<void> {
    let after: StoredDelivery | undefined;
    try {
      after = await this.#tryOnce(delivery);
      if (after !== undefined) this.#failing = after.value.state !== 'delivered';
    } catch (error) {
      // Its record could not be read or written: what follows it must not pass it.
      this.#onError(error);
      const again = new Date(this.#clock.now().getTime() + afterErrorMs);
      after = { ...delivery, value: { ...delivery.value, nextAttemptTime: again.toISOString() } };
    }
    lane.busy = false;
    const at = lane.waiting.indexOf(delivery);
    if (after?.value.state === 'pending') {
      lane.waiting[at] = after;
      return;
    }
    lane.waiting.splice(at, 1);
    this.#known.delete(delivery.id);
    if (lane.waiting.length === 0) this.#lanes.delete(lane.subject);
    this.#wakeWaiting();
  }

  #wakeWaiting(): void {
    const woken = this.#onRoom;
    this.#onRoom = [];
    for (const wake of woken) wake();
  }
}

/** By the event's own counter; what is under way stays first. */
function insertInOrder({ waiting, busy }: Lane, delivery: StoredDelivery): void {
  const later = waiting.findIndex(
    ({ value }, index) => !(busy && index === 0) && value.sequence > delivery.value.sequence,
  );
  waiting.splice(later === -1 ? waiting.length : later, 0, delivery);
}

/** What is under way is left alone: its own attempt says what becomes of it. */
function replaceOlder({ waiting, busy }: Lane, delivery: StoredDelivery): void {
  const at = waiting.findIndex(({ id, revision }) => id === delivery.id && revision < delivery.revision);
  if (at > 0 || (at === 0 && !busy)) waiting[at] = delivery;
}
