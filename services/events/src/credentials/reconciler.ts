/**
 * Brings the broker to what the records say, over and over: statements of accounts, consumers, ends. It takes no
 * input but the records, so that a crash between two steps, a broker that was away, one that lost its accounts or
 * its streams, and a second replica at the same work all heal the same way.
 */
import type { Bus, Session } from '@nephos/events';
import { type Clock, NotFound, type ServiceContext } from '@nephos/service';
import type { Stored } from '@nephos/store';
import type { Authority } from './authority.ts';
import { ensureConsumers, removeConsumers } from './consumers.ts';
import { type CredentialRecord, type CredentialState, type Credentials, credentialStates } from './record.ts';

/** Between two looks at everything. */
const passMs = 15_000;
/** After one that left something to do. */
const retryMs = 3_000;
const pageSize = 200;
/** How long the records of ended credentials are kept. */
const keepEndedMs = 30 * 24 * 60 * 60_000;

export interface ReconcilerParts {
  readonly credentials: Credentials;
  readonly authority: Authority;
  readonly bus: Bus;
  readonly clock: Clock;
  readonly log: Pick<ServiceContext['log'], 'warn'>;
}

export class Reconciler {
  readonly #parts: ReconcilerParts;

  constructor(parts: ReconcilerParts) {
    this.#parts = parts;
  }

  /** Passes until aborted: now and then, and when the broker is back. */
  async run(signal: AbortSignal): Promise<void> {
    const { bus, clock, log } = this.#parts;
    while (!signal.aborted) {
      try {
        const session = await bus.ready(signal);
        const over = AbortSignal.any([signal, session.signal]);
        while (!over.aborted) {
          const isWhole = await this.#pass(session, over);
          await clock.sleep(isWhole ? passMs : retryMs, over).catch(() => undefined);
        }
      } catch (error) {
        if (signal.aborted) return;
        log.warn({ err: error }, "third parties' credentials could not be brought to the broker yet");
        await clock.sleep(1_000, signal).catch(() => undefined);
      }
    }
  }

  /** One credential at once, if the broker is there: the answer then tells what came of it. */
  async settle(uid: string): Promise<Stored<CredentialRecord>> {
    const { bus, credentials, log } = this.#parts;
    const { session } = bus;
    const stored = await credentials.get(uid);
    if (stored === undefined) throw new NotFound('RESOURCE_NOT_FOUND', `eventCredentials/${uid} is gone`);
    if (session === undefined) return stored;
    try {
      return await this.#reconcile(session, stored, undefined);
    } catch (error) {
      log.warn({ err: error, credential: uid }, 'a credential is not brought to the broker yet');
      return stored;
    }
  }

  /**
   * False where something is left to do. What goes wrong with one, or with all consumers, keeps no other from its end:
   * those that are out come first, and each is tried.
   */
  async #pass(session: Session, signal: AbortSignal): Promise<boolean> {
    const { authority, log } = this.#parts;
    const listed = await (await authority.accounts()).list();
    let isWhole = true;
    for (const state of credentialStates.toReversed()) {
      for await (const stored of this.#all(state)) {
        if (signal.aborted) return false;
        try {
          await this.#reconcile(session, stored, listed);
        } catch (error) {
          isWhole = false;
          log.warn({ err: error, credential: stored.id }, 'a credential could not be brought to the broker');
        }
      }
    }
    return isWhole;
  }

  async *#all(state: CredentialState): AsyncGenerator<Stored<CredentialRecord>> {
    let cursor: string | undefined;
    do {
      const page = await this.#parts.credentials.find({
        where: { state },
        limit: pageSize,
        ...(cursor !== undefined && { cursor }),
      });
      yield* page.items;
      cursor = page.nextCursor;
    } while (cursor !== undefined);
  }

  /**
   * `listed`: the accounts that the broker knows; unknown: it is told anew. Who told it something reads the record
   * again: had it changed meanwhile, an older word could have come after a newer one.
   */
  async #reconcile(
    session: Session,
    found: Stored<CredentialRecord>,
    listed: ReadonlySet<string> | undefined,
  ): Promise<Stored<CredentialRecord>> {
    const { credentials } = this.#parts;
    for (let stored = found; ; ) {
      stored = await this.#upToDate(stored);
      await this.#bring(session, stored, listed);
      const now = await credentials.get(stored.id);
      if (now === undefined) return stored;
      const { statement, generation } = stored.value;
      const same = (value: CredentialRecord) =>
        value.statement === statement && value.generation === generation;
      if (same(now.value)) {
        if (now.value.settled && now.value.madeGeneration === generation) return now;
        return await credentials.modify(stored.id, (value) =>
          same(value) ? { ...value, settled: true, madeGeneration: generation } : undefined,
        );
      }
      stored = now;
    }
  }

  async #bring(
    { jsm }: Session,
    stored: Stored<CredentialRecord>,
    listed: ReadonlySet<string> | undefined,
  ): Promise<void> {
    const { account, statement, state, settled, header, madeGeneration } = stored.value;
    const accounts = await this.#parts.authority.accounts();
    const known = listed?.has(account) === true && (await accounts.statementOf(account)) === statement;
    if (state !== 'active') {
      if (settled && this.#isOld(header.updateTime)) return await this.#forget(stored);
      if (!known) await accounts.push(statement);
      await removeConsumers(jsm, account);
    } else {
      // Who comes in finds the consumers; where a former secret may be in still, its end does not wait for them.
      const mayBeIn = listed === undefined ? madeGeneration > 0 : listed.has(account);
      if (!mayBeIn) await ensureConsumers(jsm, stored.value);
      if (!known) await accounts.push(statement);
      if (mayBeIn) await ensureConsumers(jsm, stored.value);
    }
  }

  /** Ends what has expired, and makes the statement anew where the broker's keys are others now. */
  async #upToDate(stored: Stored<CredentialRecord>): Promise<Stored<CredentialRecord>> {
    const { authority, clock, credentials } = this.#parts;
    const { state, expireTime, madeFor, account, signer, statement: former } = stored.value;
    const ends = expireTime === undefined ? undefined : new Date(expireTime);
    const expired = state === 'active' && ends !== undefined && ends <= clock.now();
    if (!expired && madeFor === authority.mark) return stored;
    const nowActive = state === 'active' && !expired;
    const statement = nowActive
      ? await authority.statement({ account, signer }, ends, former)
      : await authority.closing(account, former);
    const next: Partial<CredentialRecord> = {
      ...(expired && { state: 'expired' as const }),
      statement,
      madeFor: authority.mark,
      settled: false,
    };
    const expected = stored.revision;
    const options = { expected, ...(expired && { verb: 'expired' }) };
    return await credentials.modify(stored.id, (value) => ({ ...value, ...next }), options);
  }

  #isOld(updateTime: string): boolean {
    return new Date(updateTime).getTime() < this.#parts.clock.now().getTime() - keepEndedMs;
  }

  /** Without a statement, the account is as unknown as one that never was. */
  async #forget(stored: Stored<CredentialRecord>): Promise<void> {
    await this.#parts.authority.forget([stored.value.account]);
    await this.#parts.credentials.remove(stored.id, { expected: stored.revision });
  }
}
