/** What a subscriber asks for and gets; subscribe.ts and follow.ts do it. */
import type { JsonObject } from './changes.ts';
import type { EntityEvent } from './cloudevent.ts';
import type { EventFilter, EventTree } from './subject.ts';

/** What is needed of a generated message to read it. */
export interface MessageDecoder<M> {
  fromJSON(json: unknown): M;
}

export interface HandlerContext {
  /** Aborted when the subscription stops, or the try has taken too long. */
  readonly signal: AbortSignal;
  /** 1 for the first try. */
  readonly attempt: number;
  /**
   * True for a dead letter that somebody has tried again: later events of its entity may have been handled before
   * it. `attempt` counts all tries so far.
   */
  readonly redriven: boolean;
  /** The event as it was published, CloudEvents structured JSON, for those who hand it on. */
  readonly body: string;
}

/** Resolving acknowledges the event; throwing has it tried again, and at last set aside as a dead letter. */
export type EventHandler<M = JsonObject> = (event: EntityEvent<M>, context: HandlerContext) => Promise<void>;

/**
 * Where a subscription that has no position yet begins: with what comes from now on, with all that is kept, or
 * at a time or a sequence of the stream. One that has a position goes on from there.
 */
export type StartFrom = 'new' | 'all' | Date | { readonly sequence: number };

export interface SubscribeOptions<M = JsonObject> {
  /** Names the position: the same name goes on where it stopped. Letters, digits, `-` and `_`. */
  readonly name: string;
  readonly filter?: EventFilter;
  /** Default: `entities`. */
  readonly tree?: EventTree;
  /** Default: `all`. */
  readonly from?: StartFrom;
  /** Handlers at once; those of one entity never overlap. Default 16. */
  readonly concurrency?: number;
  /** Tries before an event becomes a dead letter. Default 8. */
  readonly attempts?: number;
  /**
   * How long a handler may take, in milliseconds: then its signal aborts, and the try has failed. The next try does
   * not wait for a handler that goes on all the same. Default: for ever.
   */
  readonly timeoutMs?: number;
  /** Without progress for so long though there is work, `check` throws, in milliseconds. Default 60 s. */
  readonly stallMs?: number;
  /** The pause before the second try, doubling up to a minute. Default 100 ms. */
  readonly backoffMs?: number;
  /**
   * The broker forgets the position when nobody has read for this long, in milliseconds; for a subscription that
   * ends with its process, which may be killed. Default: never.
   */
  readonly forgetAfterMs?: number;
  /** Makes `new` and `old` messages of this type instead of proto JSON. */
  readonly message?: MessageDecoder<M>;
}

export interface SubscriptionCounts {
  /** Events that a handler finished. */
  readonly handled: number;
  /** Deliveries dropped, since their sequence had been handled. */
  readonly duplicates: number;
  /** Events that a gap hid and the stream still had. */
  readonly recovered: number;
  /** Entities brought up to date from their state, since the events between were gone. */
  readonly resynced: number;
  readonly retried: number;
  readonly deadLetters: number;
  /** Dead letters that were tried again, and handled. */
  readonly redriven: number;
}

/** Disposing lets handlers that run end, and keeps the position. */
export interface Subscription extends AsyncDisposable {
  readonly counts: SubscriptionCounts;
  /** Resolves once the consumer exists at the broker. */
  readonly started: Promise<void>;
  /** Messages that no handler has finished, as far as this process knows. */
  readonly lag: number;
  /** True where another process reads under the same name: then neither sees all, nor in order. */
  readonly hasRivals: boolean;
  /** Lets handlers that run end within so long, 5 s by default, and keeps the position. */
  stop(graceMs?: number): Promise<void>;
  /** For health: throws `Unavailable` while there is work and no progress. */
  check(): void;
  /**
   * Stops, and forgets the position at the broker. Throws `Unavailable` when the broker did not answer in time, 10 s
   * by default: the position is then still there.
   */
  remove(withinMs?: number): Promise<void>;
}

export interface FollowOptions<M = JsonObject> {
  readonly filter?: EventFilter;
  readonly signal: AbortSignal;
  readonly message?: MessageDecoder<M>;
}

/**
 * First the state of each entity, then `synced`, then each change. `restart` says that the broker's streams were
 * made anew, or that the follower fell behind what is kept: forget all, a snapshot follows.
 */
export type FollowItem<M = JsonObject> =
  | { readonly kind: 'snapshot'; readonly event: EntityEvent<M> }
  | { readonly kind: 'synced' }
  | { readonly kind: 'change'; readonly event: EntityEvent<M> }
  | { readonly kind: 'restart' };
