/**
 * The token by which a service proves to the directory who it is: a file that somebody else writes and renews (the
 * launcher, Kubernetes). Read again each second that it is asked for, so that a renewed token needs no restart. A
 * file that cannot be read for a moment leaves the last token.
 */
import { readFileSync } from 'node:fs';
import type { Clock } from '@nephos/service';

const againMs = 1000;

export class TokenFile {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #onFailure: (error: unknown) => void;
  #readAt = Number.NEGATIVE_INFINITY;
  #token: string | undefined;
  #failing = false;

  /** Empty path: no token. `onFailure` is told once for each time that the file goes missing. */
  constructor(path: string, clock: Clock, onFailure: (error: unknown) => void) {
    this.#path = path;
    this.#clock = clock;
    this.#onFailure = onFailure;
  }

  /** Metadata of a call that has to prove who calls. */
  get metadata(): Readonly<Record<string, string>> {
    const token = this.#current();
    return token === undefined ? {} : { authorization: `Bearer ${token}` };
  }

  #current(): string | undefined {
    const now = this.#clock.monotonic();
    if (this.#path === '' || now - this.#readAt < againMs) return this.#token;
    this.#readAt = now;
    try {
      this.#token = readFileSync(this.#path, 'utf8').trim() || undefined;
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) this.#onFailure(error);
      this.#failing = true;
    }
    return this.#token;
  }
}
