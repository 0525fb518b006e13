/**
 * Who may register, renew and deregister what: a service its own instances, so that nobody takes another's calls.
 * Each refusal is logged with who tried what, and counted. Without a key set (development, on loopback) everybody
 * is admitted.
 */

import { Denied, NephosError } from '@nephos/service';
import type { Counter } from '@opentelemetry/api';
import type { Identity } from '../domain/identity.ts';

/** What admission looks at of a call. */
export interface Caller {
  readonly token: string | undefined;
  readonly peer: string;
}

export interface AdmissionParts {
  /** Undefined: nobody is asked who they are. */
  readonly identify: ((token: string | undefined) => Promise<Identity>) | undefined;
  readonly refusals: Pick<Counter, 'add'>;
  readonly log: { warn(fields: object, message: string): void };
}

export class Admission {
  readonly #parts: AdmissionParts;

  constructor(parts: AdmissionParts) {
    this.#parts = parts;
  }

  /**
   * Lets the call pass if its caller may speak for the instance. `service`: whose it is; undefined where nobody
   * knows. Throws Unauthenticated or Denied.
   */
  async check(what: string, caller: Caller, uid: string, service: string | undefined): Promise<void> {
    const { identify, refusals, log } = this.#parts;
    if (identify === undefined) return;
    try {
      const who = await identify(caller.token);
      if (service !== undefined && who.service !== service) {
        throw new Denied(
          'PERMISSION_DENIED',
          `the token speaks for ${who.service}, the instance is one of ${service}: give each service its own token (NEPHOS_IDENTITY)`,
        );
      }
      if (who.instance !== undefined && who.instance !== uid) {
        throw new Denied('PERMISSION_DENIED', `the token speaks for instances/${who.instance} alone`);
      }
    } catch (error) {
      const { peer } = caller;
      const reason = error instanceof NephosError ? error.reason : 'INTERNAL';
      refusals.add(1, { call: what, reason });
      log.warn({ call: what, reason, instance: uid, service, peer, why: messageOf(error) }, 'refused');
      throw error;
    }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
