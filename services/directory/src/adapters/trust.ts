/**
 * Whom the directory trusts to say which service a caller is: a JSON Web Key Set (RFC 7517), from a file or a URL,
 * read again when it changed and now and then. Tokens are JWTs (RFC 7519) with asymmetric signatures only, so that
 * `none` and a public key misused as a secret are refused; those that passed are remembered until they expire.
 * Invariant: a key set that cannot be read leaves the last one; with none at all nobody is believed.
 */
import { readFile } from 'node:fs/promises';
import { directoryAudience } from '@nephos/directory/identity';
import { type Clock, Unauthenticated, Unavailable } from '@nephos/service';
import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTPayload, jwtVerify } from 'jose';
import { type Identity, identityOf } from '../domain/identity.ts';

const algorithms = ['EdDSA', 'Ed25519', 'ES256', 'RS256'];
const againMs = { file: 1000, url: 60_000 };
const answerMs = 5000;
/** Hosts' clocks differ a little, seconds. */
const tolerance = 30;
const mostRemembered = 10_000;

export interface TrustParts {
  /** Path of a JWKS file, or an http(s) URL. */
  readonly source: string;
  /** The Kubernetes namespace whose service accounts are services. */
  readonly namespace: string;
  readonly clock: Clock;
  readonly log: { warn(fields: object, message: string): void };
}

interface Remembered {
  readonly identity: Identity;
  /** Seconds since 1970. */
  readonly expires: number;
}

export class Trust {
  readonly #parts: TrustParts;
  readonly #remembered = new Map<string, Remembered>();
  #text = '';
  #keys: ReturnType<typeof createLocalJWKSet> | undefined;
  #readAt = Number.NEGATIVE_INFINITY;
  #reading: Promise<void> | undefined;

  constructor(parts: TrustParts) {
    this.#parts = parts;
  }

  /** Throws Unauthenticated that says what to do. */
  async identify(token: string | undefined): Promise<Identity> {
    if (token === undefined) {
      throw refused(
        `no token: the caller needs a file with its service's token, named by NEPHOS_IDENTITY (metadata "authorization: Bearer <token>")`,
      );
    }
    await this.#refresh(false);
    const known = this.#remembered.get(token);
    if (known !== undefined && known.expires > this.#seconds()) return known.identity;
    const payload = await this.#verified(token);
    const identity = identityOf(payload, this.#parts.namespace);
    if (identity === undefined) {
      throw refused(
        `its subject ${JSON.stringify(payload.sub)} names no service: a service's name, or system:serviceaccount:${this.#parts.namespace}:<name>`,
      );
    }
    if (this.#remembered.size >= mostRemembered) this.#remembered.clear();
    this.#remembered.set(token, { identity, expires: payload.exp ?? 0 });
    return identity;
  }

  async #verified(token: string): Promise<JWTPayload> {
    try {
      return await this.#verify(token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw explained(error);
    }
    // A key that was issued a moment ago.
    await this.#refresh(true);
    try {
      return await this.#verify(token);
    } catch (error) {
      throw explained(error);
    }
  }

  async #verify(token: string): Promise<JWTPayload> {
    if (this.#keys === undefined)
      throw new Unavailable('SERVICE_UNAVAILABLE', 'the key set that the directory trusts cannot be read');
    const { payload } = await jwtVerify(token, this.#keys, {
      algorithms,
      audience: directoryAudience,
      requiredClaims: ['exp', 'sub'],
      clockTolerance: tolerance,
      currentDate: this.#parts.clock.now(),
    });
    return payload;
  }

  /** `now`: without regard to when it was read last, but no more often than a file's pause. */
  #refresh(now: boolean): Promise<void> {
    const pause = now || !isUrl(this.#parts.source) ? againMs.file : againMs.url;
    if (this.#parts.clock.monotonic() - this.#readAt < pause) return this.#reading ?? Promise.resolve();
    this.#readAt = this.#parts.clock.monotonic();
    this.#reading = this.#read().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #read(): Promise<void> {
    const { source, log } = this.#parts;
    try {
      const text = isUrl(source) ? await fetched(source) : await readFile(source, 'utf8');
      if (text === this.#text) return;
      this.#keys = createLocalJWKSet(JSON.parse(text) as JSONWebKeySet);
      this.#text = text;
      // A key that is trusted no more takes its tokens with it.
      this.#remembered.clear();
    } catch (error) {
      log.warn(
        { err: error, trust: source },
        'cannot read the keys that the directory trusts; the last ones stay',
      );
    }
  }

  #seconds(): number {
    return this.#parts.clock.now().getTime() / 1000 - tolerance;
  }
}

function isUrl(source: string): boolean {
  return /^https?:\/\//.test(source);
}

async function fetched(url: string): Promise<string> {
  const answer = await fetch(url, { signal: AbortSignal.timeout(answerMs) });
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
  return answer.text();
}

function refused(why: string): Unauthenticated {
  return new Unauthenticated('IDENTITY_UNKNOWN', `the directory does not know who calls: ${why}`);
}

function explained(error: unknown): unknown {
  if (error instanceof errors.JWTExpired)
    return refused('its token has expired: renew the file at NEPHOS_IDENTITY');
  if (error instanceof errors.JWTClaimValidationFailed)
    return refused(
      `its token's claim "${error.claim}" is not as it must be (audience "${directoryAudience}")`,
    );
  if (error instanceof errors.JOSEError)
    return refused('its token is not signed by anybody whom NEPHOS_DIRECTORY_TRUST names');
  return error;
}
