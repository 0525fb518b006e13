/**
 * The directory of one replica: takes what instances say, lists them, and keeps roster and bus alike. Answers
 * come from memory, so it serves with the bus away; writing and publishing follow in the background, driven by
 * what differs and never by what happened.
 * Leases end only while the bus is there, and a whole lease after it came back or this process stood still:
 * until then a renewal may have come through another replica. A crash loses what was not yet written; instances
 * say it again within a lease.
 */
import type { Bus, Session } from '@nephos/events';
import { type Clock, Conflict, Denied, NotFound } from '@nephos/service';
import { announce } from './adapters/announcer.ts';
import { Pulses } from './adapters/pulses.ts';
import { RecordBucket } from './adapters/record-bucket.ts';
import type { Listed } from './domain/entry.ts';
import type { CalleeWord, InstanceFacts } from './domain/record.ts';
import { type RenewalWord, Roster } from './domain/roster.ts';

/** How often leases, silence and leftovers are looked at, milliseconds. */
const sweepMs = 100;
/** A sweep that comes this late means that the process stood still: everybody's lease begins anew. */
const standstillMs = 1000;
/** One that comes this late: renewals may wait unread, so that nobody counts as silent yet. */
const hiccupMs = 250;
/** Between attempts to read the bus. */
const retryMs = 200;
/** Another replica's event that waits longer than this is published here as well. */
const patienceMs = 2000;
/** Without the bus a new replica knows everybody after one usual lease. */
const settleMs = 3000;

export interface RegistryLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface RegistryParts {
  readonly bus: Bus;
  readonly clock: Clock;
  readonly log: RegistryLog;
  /** Copies of the bucket in a cluster of brokers. */
  readonly replicas: number;
}

interface Link {
  readonly session: Session;
  readonly bucket: RecordBucket;
}

/** An instance that registers. */
export interface Registering {
  readonly uid: string;
  readonly facts: InstanceFacts;
  readonly beat: number;
  readonly load: number;
  readonly callees: readonly CalleeWord[];
  readonly supersedes: readonly string[];
}

export class Registry implements AsyncDisposable {
  readonly #parts: RegistryParts;
  readonly #roster: Roster;
  readonly #listeners = new Set<(service: string) => void>();
  readonly #writing = new Map<string, Promise<void>>();
  readonly #announcing = new Set<string>();
  readonly #startedAt: number;
  readonly #pulses: Pulses;
  #link: Link | undefined;
  #everRead = false;
  #leasesFrom = Number.POSITIVE_INFINITY;
  #silenceFrom = 0;
  #sweptAt: number;

  constructor(parts: RegistryParts) {
    this.#parts = parts;
    this.#roster = new Roster((service) => {
      for (const listener of [...this.#listeners]) listener(service);
    });
    this.#pulses = new Pulses(parts.bus, parts.clock, (uid, beat) =>
      this.#roster.heard(uid, beat, this.#now()),
    );
    this.#startedAt = this.#sweptAt = parts.clock.monotonic();
  }

  /** False while instances may be missing: just started, and the bus not read. */
  get settled(): boolean {
    return this.#everRead || this.#now() - this.#startedAt > settleMs;
  }

  onChange(listener: (service: string) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  /** All, or those of a service, ordered by uid. */
  list(service = ''): Listed[] {
    return this.#roster.list(service);
  }

  /** What is known here of an instance, or in the bus. */
  async find(uid: string): Promise<Listed | undefined> {
    return this.#roster.get(uid) ?? (await this.#learn(uid));
  }

  async get(uid: string): Promise<Listed> {
    const found = await this.find(uid);
    if (found === undefined)
      throw new NotFound('RESOURCE_NOT_FOUND', `instances/${uid} is not in the directory`);
    return found;
  }

  /** Throws Conflict when the instance said something later already. */
  async register({ supersedes, ...said }: Registering): Promise<Listed> {
    const { uid, facts, beat } = said;
    const earlierSelf = this.#roster.get(uid);
    if (earlierSelf !== undefined && earlierSelf.state.facts.service !== facts.service) {
      const { service } = earlierSelf.state.facts;
      throw new Denied('PERMISSION_DENIED', `instances/${uid} is one of ${service}: mint another uid`);
    }
    this.#roster.register({ ...said, at: this.#wall() }, this.#now());
    this.#pulses.add(uid, beat);
    this.#keep(uid);
    for (const earlier of supersedes) {
      const known = await this.find(earlier);
      if (earlier !== uid && known?.state.facts.service === facts.service) this.#out(earlier);
    }
    const registered = this.#roster.get(uid);
    if (registered === undefined) {
      throw new Conflict('REVISION_MISMATCH', `instances/${uid} has ended with a later beat than ${beat}`);
    }
    return registered;
  }

  /** The lease in milliseconds. Throws NotFound: register again. */
  async renew(uid: string, word: Omit<RenewalWord, 'at'>): Promise<number> {
    const known = await this.get(uid);
    if (!this.#roster.renew(uid, { ...word, at: this.#wall() }, this.#now())) {
      throw new NotFound('RESOURCE_NOT_FOUND', `instances/${uid} is not in the directory`);
    }
    this.#pulses.add(uid, word.beat);
    this.#keep(uid);
    return known.state.facts.leaseMs;
  }

  /** Without a beat: whatever its last word was. */
  async deregister(uid: string, beat: number | undefined): Promise<void> {
    if (this.#roster.get(uid) === undefined) await this.#learn(uid);
    this.#out(uid, beat);
  }

  /** Writes what can still be written. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#pulses[Symbol.dispose]();
    for (const uid of this.#roster.unwritten(this.#now())) this.#keep(uid);
    await Promise.all(this.#writing.values());
  }

  /** Keeps roster and bus alike until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { bus, clock, log } = this.#parts;
    using _sweeping = clock.every(sweepMs, () => this.#sweep());
    while (!signal.aborted) {
      const session = await bus.ready(signal).catch(() => undefined);
      if (session === undefined) break;
      try {
        await this.#follow(session, AbortSignal.any([signal, session.signal]));
      } catch (error) {
        if (!signal.aborted && !session.signal.aborted)
          log.warn({ err: error }, 'cannot read the directory in the bus');
      }
      this.#doubt();
      if (!signal.aborted) {
        this.#link = undefined;
        await clock.sleep(retryMs, signal).catch(() => undefined);
      }
    }
  }

  async #follow(session: Session, signal: AbortSignal): Promise<void> {
    const bucket = await RecordBucket.open(session, this.#parts.replicas);
    this.#roster.forgetKept();
    for await (const seen of bucket.watch(signal)) {
      if (seen !== 'read') {
        this.#roster.observe(seen.uid, seen.kept, this.#now());
        this.#keep(seen.uid);
        continue;
      }
      this.#roster.keptRead();
      this.#everRead = true;
      this.#link = { session, bucket };
      this.#leasesFrom = this.#now();
      this.#parts.log.info({ instances: this.#roster.list().length }, 'the directory in the bus is read');
      for (const uid of this.#roster.unwritten(this.#now())) this.#keep(uid);
    }
  }

  /** Reads an instance that another replica may know. */
  async #learn(uid: string): Promise<Listed | undefined> {
    try {
      const kept = await this.#link?.bucket.get(uid);
      if (kept?.record !== undefined) this.#roster.observe(uid, kept, this.#now());
    } catch {
      this.#doubt();
    }
    return this.#roster.get(uid);
  }

  #out(uid: string, beat?: number): void {
    this.#roster.leave(uid, beat ?? this.#roster.lastBeat(uid), this.#wall());
    this.#keep(uid);
  }

  /** Writes the instance's record in the background: one write at a time, until nothing differs or the bus fails. */
  #keep(uid: string): void {
    if (this.#link === undefined || this.#writing.has(uid) || !this.#roster.isUnwritten(uid, this.#now()))
      return;
    const written = this.#write(uid, this.#link)
      .catch(() => this.#doubt())
      .finally(() => this.#writing.delete(uid));
    this.#writing.set(uid, written);
  }

  async #write(uid: string, { session, bucket }: Link): Promise<void> {
    for (;;) {
      const next = this.#roster.nextWrite(uid, this.#now());
      if (next === undefined || session.signal.aborted) return;
      try {
        const revision = await bucket.put(next.record, next.over);
        this.#roster.observe(uid, { record: next.record, revision }, this.#now());
        this.#announce(uid);
      } catch (error) {
        if (!(error instanceof Conflict)) throw error;
        this.#roster.observe(uid, await bucket.get(uid), this.#now());
      }
    }
  }

  /** Publishes the instance's pending change in the background, one at a time. */
  #announce(uid: string): void {
    const session = this.#link?.session;
    if (session === undefined || this.#announcing.has(uid) || this.#roster.unpublished(uid) === undefined)
      return;
    this.#announcing.add(uid);
    void this.#publish(uid, session)
      .catch(() => undefined)
      .finally(() => this.#announcing.delete(uid));
  }

  async #publish(uid: string, session: Session): Promise<void> {
    for (;;) {
      const record = this.#roster.unpublished(uid);
      if (record?.pending === undefined) return;
      await announce(session, record);
      this.#roster.published(uid, record.pending.seq);
      if (record.ended) this.#keep(uid);
    }
  }

  #sweep(): void {
    const now = this.#now();
    if (now - this.#sweptAt > standstillMs) this.#doubt();
    if (now - this.#sweptAt > hiccupMs) this.#silenceFrom = now;
    this.#sweptAt = now;
    if (this.#link === undefined) return;
    for (const uid of this.#roster.hush(now, Math.max(this.#leasesFrom, this.#silenceFrom)))
      this.#parts.log.info({ instance: uid }, 'not heard of: out of the lists until it is');
    for (const uid of this.#roster.lapsed(now, this.#leasesFrom)) {
      this.#parts.log.info({ instance: uid }, 'the lease ran out');
      this.#roster.lapse(uid, this.#wall());
    }
    for (const uid of this.#roster.unwritten(now)) this.#keep(uid);
    for (const uid of this.#roster.longUnpublished(now, patienceMs)) this.#announce(uid);
  }

  /** Signs of life may have been missed: every lease begins anew. */
  #doubt(): void {
    this.#leasesFrom = this.#now();
    this.#roster.unlapse();
  }

  #now(): number {
    return this.#parts.clock.monotonic();
  }

  #wall(): string {
    return this.#parts.clock.now().toISOString();
  }
}
