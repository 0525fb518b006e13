/**
 * Notices subscriptions that nobody reads any more: looks now and then, remembers when each was last seen to be read,
 * on this process's own monotonic clock, and says in the log when one has stopped and when it goes on.
 * State of one replica; a fresh one learns within one look.
 */
import type { Bus } from '@nephos/events';
import type { Clock, Logger } from '@nephos/service';
import { type FoundSubscription, findSubscriptions, hasReader } from './adapters/subscription-reader.ts';
import { subscriptionName } from './domain/subscription-name.ts';

const lookEveryMs = 5_000;
/** A reader that asks, works, and asks again is still one in between. */
const graceMs = 15_000;
/** A restart of a reader is no reason to call anybody. */
const stoppedAfterMs = 60_000;

interface Seen {
  /** Undefined: never by this process. */
  readAt: number | undefined;
  firstSeenAt: number;
  progress: string;
  said: boolean;
}

export class Activity {
  readonly #bus: Bus;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #seen = new Map<string, Seen>();

  constructor({ bus, clock, log }: { readonly bus: Bus; readonly clock: Clock; readonly log: Logger }) {
    this.#bus = bus;
    this.#clock = clock;
    this.#log = log;
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const { session } = this.#bus;
      if (session) {
        await this.#look(await findSubscriptions(session)).catch((error: unknown) => {
          if (!session.signal.aborted) throw error;
        });
      }
      await this.#clock.sleep(lookEveryMs, signal).catch(() => undefined);
    }
  }

  /** Whether somebody reads, as far as can be told at this moment. */
  isRead(found: FoundSubscription): boolean {
    const { readAt } = this.#note(found);
    return readAt !== undefined && this.#clock.monotonic() - readAt <= graceMs;
  }

  async #look(all: readonly FoundSubscription[]): Promise<void> {
    const there = new Set(all.map((found) => subscriptionName(found.tree, found.info.name)));
    for (const name of this.#seen.keys()) if (!there.has(name)) this.#seen.delete(name);
    for (const found of all) this.#tell(found, this.#note(found));
  }

  #note(found: FoundSubscription): Seen {
    const { tree, info } = found;
    const name = subscriptionName(tree, info.name);
    const now = this.#clock.monotonic();
    const progress = `${info.delivered.consumer_seq}/${info.ack_floor.consumer_seq}`;
    const known = this.#seen.get(name);
    const seen = known ?? { readAt: undefined, firstSeenAt: now, progress, said: false };
    this.#seen.set(name, seen);
    if (hasReader(info) || seen.progress !== progress) seen.readAt = now;
    seen.progress = progress;
    return seen;
  }

  #tell({ tree, info }: FoundSubscription, seen: Seen): void {
    const quietMs = this.#clock.monotonic() - (seen.readAt ?? seen.firstSeenAt);
    const facts = {
      subscription: subscriptionName(tree, info.name),
      lag: info.num_pending + info.num_ack_pending,
    };
    if (!seen.said && quietMs >= stoppedAfterMs) {
      seen.said = true;
      this.#log.warn({ ...facts, quietMs }, 'a subscription has stopped: nobody reads it');
    } else if (seen.said && quietMs < graceMs) {
      seen.said = false;
      this.#log.info(facts, 'a subscription is read again');
    }
  }
}
