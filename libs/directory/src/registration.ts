/**
 * Keeps one instance registered: registers, renews twice a second (so that one that hangs is out of the lists
 * within one), says at once when its health or its labels change, registers again when the directory forgot it,
 * deregisters at the end. One call is under way at a time and each has the next beat, so that the directory can
 * order them. A good-bye that nobody hears is not waited for. After a crash the lease runs out.
 */
import { hostname } from 'node:os';
import { performance } from 'node:perf_hooks';
import { type Callee, Health, type Instance } from '@nephos/proto/nephos/directory/v1/instance';
import {
  type CalleeCount,
  type Clock,
  type DeepPartial,
  durationOf,
  NotFound,
  Unimplemented,
} from '@nephos/service';
import type { TokenFile } from './identity/token-file.ts';
import type { Predecessors } from './predecessors.ts';
import { RenewalStream } from './renewal-stream.ts';
import type { DirectoryEndpoint, Log } from './types.ts';

/** Between renewals, at most. */
const usualRenewalMs = 500;
/** A directory that knows no streams of renewals is asked again after so long: it may be a newer one then. */
const streamsAgainMs = 60_000;
/** How long a directory that is there may take for a good-bye, milliseconds. */
const goodbyeMs = 300;

export interface RegistrationParts {
  readonly endpoint: DirectoryEndpoint;
  readonly clock: Clock;
  readonly log: Log;
  readonly leaseMs: number;
  readonly predecessors: Predecessors;
  readonly identity: TokenFile;
  readonly callees: () => readonly CalleeCount[];
  readonly facts: {
    readonly uid: string;
    readonly service: string;
    readonly version: string;
    readonly zone: string;
    readonly address: string;
    readonly services: readonly string[];
  };
}

/** What may change while an instance lives. */
interface Condition {
  readonly health: Health;
  readonly labels: Readonly<Record<string, string>>;
}

interface StreamOptions {
  readonly metadata: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

export class Registration {
  readonly #parts: RegistrationParts;
  readonly #startTime: Date;
  readonly #name: string;
  readonly #renewalMs: number;
  #condition: Condition;
  #known = false;
  #beat = 0n;
  #stream: RenewalStream | undefined;
  /** Monotonic: when a stream may be opened. */
  #streamsFrom = 0;
  #changes = 0;
  #acknowledged = -1;
  #nudge = new AbortController();
  #waiting: (() => void)[] = [];
  #failing = false;
  #failures = 0;
  #load = performance.eventLoopUtilization();

  constructor(parts: RegistrationParts, condition: Condition) {
    this.#parts = parts;
    this.#condition = condition;
    this.#name = `instances/${parts.facts.uid}`;
    this.#startTime = parts.clock.now();
    this.#renewalMs = Math.min(usualRenewalMs, Math.floor(parts.leaseMs / 3));
  }

  setHealth(health: Health): void {
    this.#change({ ...this.#condition, health });
  }

  setLabels(labels: Readonly<Record<string, string>>): void {
    this.#known = false;
    this.#change({ ...this.#condition, labels });
  }

  /**
   * Resolves once the directory has the last change; after `withinMs`; or as soon as the directory turns out not to
   * be there.
   */
  async acknowledged(withinMs: number): Promise<void> {
    const wanted = this.#changes;
    const failures = this.#failures;
    let late = false;
    using _limit = this.#parts.clock.timer(this.#failing ? Math.min(goodbyeMs, withinMs) : withinMs, () => {
      late = true;
      this.#wakeWaiting();
    });
    while (this.#acknowledged < wanted && !late && this.#failures === failures) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** Runs until the signal aborts, then deregisters. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log, predecessors, facts } = this.#parts;
    await predecessors
      .arrive()
      .catch((error: unknown) => log.warn({ err: error }, 'cannot write the data folder'));
    while (!signal.aborted) {
      this.#nudge = new AbortController();
      const pause = AbortSignal.any([signal, this.#nudge.signal]);
      try {
        await this.#speak(signal);
        if (this.#failing) log.info({ service: facts.service }, 'in the directory again');
        this.#failing = false;
      } catch (error) {
        if (signal.aborted) break;
        if (error instanceof NotFound) {
          this.#known = false;
          continue;
        }
        if (!this.#failing)
          log.warn({ err: error, service: facts.service }, 'the directory does not take the registration');
        this.#failing = true;
        this.#failures += 1;
        this.#wakeWaiting();
      }
      await clock.sleep(this.#renewalMs, pause).catch(() => undefined);
    }
    await this.#deregister();
  }

  #change(condition: Condition): void {
    this.#condition = condition;
    this.#changes += 1;
    this.#nudge.abort();
  }

  #wakeWaiting(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async #speak(signal: AbortSignal): Promise<void> {
    const { endpoint, leaseMs, identity } = this.#parts;
    const saying = this.#changes;
    const last = this.#condition.health === Health.DRAINING;
    // A leaving instance waits for no connection; one that stays has the time.
    const options = {
      signal,
      metadata: identity.metadata,
      deadlineMs: last ? goodbyeMs : leaseMs / 3,
      waitForReady: !last,
    };
    if (this.#known) {
      if (last || !(await this.#renewedByStream(options)))
        await endpoint.renewInstance(this.#renewal(), options);
    } else {
      const supersedes = this.#parts.predecessors.dead;
      this.#beat += 1n;
      this.#known = true;
      try {
        await endpoint.registerInstance(
          { instance: this.#instance(), beat: this.#beat, supersedes },
          options,
        );
      } catch (error) {
        this.#known = false;
        throw error;
      }
      await this.#parts.predecessors.confirmed().catch(() => undefined);
    }
    this.#acknowledged = saying;
    this.#wakeWaiting();
  }

  /** False: it has to be said by a call, whose error then tells what is wrong. */
  async #renewedByStream({ metadata, signal }: StreamOptions): Promise<boolean> {
    const { endpoint, clock, leaseMs } = this.#parts;
    if (endpoint.keepInstances === undefined || this.#failing || clock.monotonic() < this.#streamsFrom)
      return false;
    if (this.#stream?.metadata['authorization'] !== metadata['authorization']) this.#endStream();
    this.#stream ??= new RenewalStream(endpoint.keepInstances, clock, metadata, signal);
    try {
      await this.#stream.renew(this.#renewal(), leaseMs / 3);
      return true;
    } catch (error) {
      this.#endStream();
      if (error instanceof Unimplemented) this.#streamsFrom = clock.monotonic() + streamsAgainMs;
      return false;
    }
  }

  #endStream(): void {
    this.#stream?.[Symbol.dispose]();
    this.#stream = undefined;
  }

  #renewal() {
    this.#beat += 1n;
    const { health } = this.#condition;
    const callees = this.#callees();
    return { name: this.#name, beat: this.#beat, health, load: this.#currentLoad(), callees };
  }

  async #deregister(): Promise<void> {
    this.#endStream();
    const { endpoint, log, predecessors, identity } = this.#parts;
    this.#beat += 1n;
    const options = { deadlineMs: goodbyeMs, metadata: identity.metadata, waitForReady: false };
    const gone = await endpoint
      .deregisterInstance({ name: this.#name, beat: this.#beat }, options)
      .then(() => true)
      .catch((error: unknown) => {
        log.info({ err: error }, 'left without telling the directory; the lease will end');
        return false;
      });
    await predecessors.leave(gone).catch(() => undefined);
  }

  #callees(): DeepPartial<Callee>[] {
    return this.#parts.callees().map(({ service, calls, failures, since }) => ({
      service,
      calls: BigInt(calls),
      failures: BigInt(failures),
      since,
    }));
  }

  /** The share of time that the event loop was busy since the last call. */
  #currentLoad(): number {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, this.#load);
    this.#load = now;
    return Math.min(1, Math.max(0, utilization));
  }

  #instance(): DeepPartial<Instance> {
    const { facts, leaseMs } = this.#parts;
    return {
      header: { uid: facts.uid, zone: facts.zone, labels: this.#condition.labels },
      service: facts.service,
      version: facts.version,
      address: facts.address,
      grpcServices: facts.services,
      health: this.#condition.health,
      load: this.#currentLoad(),
      leaseTtl: durationOf(leaseMs),
      renewInterval: durationOf(this.#renewalMs),
      callees: this.#callees(),
      process: { host: hostname(), pid: process.pid, startTime: this.#startTime },
    };
  }
}
