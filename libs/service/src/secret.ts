/**
 * A value that must not be seen: it prints, logs and serialises as `[secret]`, and has to be asked for by name.
 */
import { inspect } from 'node:util';

const shown = '[secret]';

export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return shown;
  }

  toJSON(): string {
    return shown;
  }

  [inspect.custom](): string {
    return shown;
  }
}

/** `scheme://user:password@` or `scheme://token@`, of each URL in a list. */
const credentials = /[a-z][a-z0-9+.-]*:\/\/(?:[^:@/,\s]*:)?([^@/,\s]+)@/gi;

/** Passwords and tokens of the URLs in a text, as written and as they read. */
export function urlSecrets(text: string): string[] {
  return Array.from(text.matchAll(credentials), ([, secret = '']) => [secret, decoded(secret)]).flat();
}

/** A text to be shown, without the credentials of the URLs in it. */
export function withoutUrlSecrets(text: string): string {
  return text.replace(credentials, (url, secret: string) => url.replace(`${secret}@`, `${shown}@`));
}

function decoded(secret: string): string {
  try {
    return decodeURIComponent(secret);
  } catch {
    return secret;
  }
}
