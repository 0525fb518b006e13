/**
 * Messages that one server sends to many callers, such as a list to all who watch it: encoded once. The bytes lie
 * beside the message, out of sight of whoever copies or prints it.
 */

const encoding = Symbol('nephos.encoding');

interface Encoding {
  bytes: Buffer | undefined;
}

/** Marks a message, which must not change any more. It is always of the type that the method answers with. */
export function sentToMany<T extends object>(message: T): T {
  const unknownYet: Encoding = { bytes: undefined };
  return Object.defineProperty(message, encoding, { value: unknownYet, enumerable: false });
}

/** Where the bytes of a marked message are kept; undefined for any other. */
export function encodingOf(value: unknown): Encoding | undefined {
  return (value as { readonly [encoding]?: Encoding } | undefined | null)?.[encoding];
}
