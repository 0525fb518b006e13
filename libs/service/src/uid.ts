/** Identifiers: UUIDv7 (RFC 9562), so that ids sort by the time they were minted and indexes stay compact. */
import { v7, validate, version } from 'uuid';

export function newUid(): string {
  return v7();
}

export function isUid(text: string): boolean {
  return validate(text) && version(text) === 7;
}
