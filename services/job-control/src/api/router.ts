/**
 * Brings calls about jobs to the instance that owns them: here, or one hop away, or wherever they will be owned next.
 * Invariants: a call that was forwarded is not forwarded again; the caller's deadline, request id and principal go
 * along; no owner, or one that is gone or stands still, is waited for within the deadline and then UNAVAILABLE with
 * RetryInfo. What is forwarded may be carried out twice when its answer gets lost, as any call that is tried again.
 */
import { JobServiceDefinition } from '@nephos/proto/nephos/jobs/v1/jobs';
import {
  type Call,
  type CallOptions,
  type Client,
  type Clients,
  type Clock,
  NephosError,
} from '@nephos/service';
import type { Owner } from '../adapters/partitions.ts';
import { NotOwned } from '../scheduling/not-owned.ts';

/** Names the instance that forwards: the loop guard. */
export const forwardedKey = 'nephos-forwarded-by';

/** Calls without a deadline wait this long for an owner, milliseconds. */
const longestWaitMs = 20_000;
const lookMs = 50;
/** Left of a deadline for the answer that says why. */
const marginMs = 200;
/** How long a read that the store could answer too waits for the owner, milliseconds. */
const peekMs = 2000;

export type Peer = Client<JobServiceDefinition>;

/** The same thing, done here or asked of the owner. */
export interface Ways<R> {
  here(): R;
  there(peer: Peer, options: CallOptions, owner: Owner): R;
}

export interface RouterOptions {
  readonly instance: string;
  readonly clients: Clients;
  readonly clock: Clock;
  readonly owns: (partition: number) => boolean;
  readonly ownerOf: (partition: number) => Owner | undefined;
  /** Learns anew who owns what. */
  readonly look: () => Promise<void>;
}

/** What the router needs of a call. */
export type RoutedCall = Pick<Call, 'deadline' | 'signal' | 'text'>;

export class Router {
  readonly #options: RouterOptions;
  /** Calls forwarded since the start. */
  forwarded = 0;

  constructor(options: RouterOptions) {
    this.#options = options;
  }

  /** Does it where the partition is owned, waiting for an owner. */
  async call<R>(partition: number, call: RoutedCall, ways: Ways<Promise<R>>): Promise<R> {
    const until = this.#until(call);
    for (;;) {
      try {
        if (this.#options.owns(partition)) return await ways.here();
        const owner = this.#next(partition, call);
        if (owner !== undefined) return await this.#forward(partition, owner, until, ways);
      } catch (error) {
        this.#checkAgain(error, call);
      }
      await this.#pause(until);
    }
  }

  /** A read: of the owner if it answers soon, else of what the store has. */
  async read<R>(partition: number, call: RoutedCall, ways: Ways<Promise<R>>): Promise<R> {
    const owner = this.#options.owns(partition) ? undefined : this.#options.ownerOf(partition);
    if (owner === undefined || isForwarded(call)) return await ways.here();
    try {
      const until = Math.min(this.#until(call), this.#options.clock.monotonic() + peekMs);
      return await this.#forward(partition, owner, until, ways);
    } catch (error) {
      if (!isAway(error) && !isLate(error)) throw error;
      return await ways.here();
    }
  }

  /** Follows it wherever it is owned; `here` throws `NotOwned` when that ends. */
  async *follow<R>(
    partition: number,
    call: RoutedCall,
    signal: AbortSignal,
    ways: Ways<AsyncIterable<R>>,
  ): AsyncGenerator<R> {
    const { clock, owns, instance } = this.#options;
    let until = clock.monotonic() + longestWaitMs;
    while (!signal.aborted) {
      try {
        if (owns(partition)) return yield* ways.here();
        const owner = this.#next(partition, call);
        if (owner !== undefined) {
          using moved = this.#whileOwned(partition, owner);
          const aborted = AbortSignal.any([signal, moved.signal]);
          this.forwarded += 1;
          const options = { signal: aborted, metadata: { [forwardedKey]: instance } };
          for await (const one of ways.there(this.#peer(owner), options, owner)) {
            until = clock.monotonic() + longestWaitMs;
            yield one;
          }
          return;
        }
      } catch (error) {
        if (signal.aborted) return;
        this.#checkAgain(error, call);
      }
      await this.#pause(until);
    }
  }

  async #forward<R>(partition: number, owner: Owner, until: number, ways: Ways<Promise<R>>): Promise<R> {
    const { clock, instance } = this.#options;
    using moved = this.#whileOwned(partition, owner);
    this.forwarded += 1;
    return await ways.there(
      this.#peer(owner),
      {
        signal: moved.signal,
        deadlineMs: Math.max(1, until - clock.monotonic()),
        metadata: { [forwardedKey]: instance },
      },
      owner,
    );
  }

  #peer({ address }: Owner): Peer {
    return this.#options.clients.of(JobServiceDefinition, address, { service: 'job-control' });
  }

  /** Aborts when another owns the partition: one that stands still would keep its callers waiting. */
  #whileOwned(partition: number, { epoch }: Owner): Disposable & { readonly signal: AbortSignal } {
    const { clock, owns, ownerOf } = this.#options;
    const moved = new AbortController();
    const looks = clock.every(lookMs, () => {
      const owner = ownerOf(partition);
      if (owns(partition) || (owner !== undefined && owner.epoch !== epoch)) moved.abort(new NotOwned());
    });
    return { signal: moved.signal, [Symbol.dispose]: () => looks[Symbol.dispose]() };
  }

  #next(partition: number, call: RoutedCall): Owner | undefined {
    if (isForwarded(call)) throw new NotOwned();
    return this.#options.ownerOf(partition);
  }

  /** Throws unless the owner is away, or another by now: then whoever owns it next is asked. */
  #checkAgain(error: unknown, call: RoutedCall): void {
    if (!isAway(error) || isForwarded(call)) throw error;
  }

  /** Throws `NotOwned` when the time is over. */
  async #pause(until: number): Promise<void> {
    const { clock, look } = this.#options;
    if (clock.monotonic() + lookMs >= until) throw new NotOwned();
    await clock.sleep(lookMs);
    await look().catch(() => {});
  }

  /** Monotonic: until when an owner is waited for. */
  #until({ deadline }: RoutedCall): number {
    const { clock } = this.#options;
    const left =
      deadline === undefined ? longestWaitMs : deadline.getTime() - clock.now().getTime() - marginMs;
    return clock.monotonic() + Math.min(left, longestWaitMs);
  }
}

export function isForwarded(call: Pick<Call, 'text'>): boolean {
  return call.text(forwardedKey) !== undefined;
}

function isAway(error: unknown): boolean {
  return error instanceof NephosError && error.kind === 'unavailable';
}

function isLate(error: unknown): boolean {
  return error instanceof NephosError && error.kind === 'deadline';
}
