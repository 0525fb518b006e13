// Reading and checking what goes into documents: ids, and the scalars that indexes and conditions compare.
// Owner: libs/store. Invariant: what passes here orders and compares alike in every adapter.
import { Invalid } from '@nephos/service';
import type { CollectionDefinition, Json, Scalar } from './collection.ts';
import { valueAt } from './paths.ts';

const maxIdBytes = 512;

/** Throws `Invalid` unless `id` is 1 to 512 bytes of well-formed text. */
export function checkId(id: string): void {
  if (typeof id !== 'string' || id === '' || !isPlainText(id) || Buffer.byteLength(id) > maxIdBytes) {
    throw new Invalid('FIELD_INVALID', `a document's id has to be 1 to ${maxIdBytes} bytes of text`);
  }
}

/** The scalar at a dotted path; `undefined` when missing or null. Throws `Invalid` on anything else. */
export function scalarAt(value: Json, path: string): Scalar | undefined {
  const found = valueAt(value, path);
  return found === undefined || found === null ? undefined : checkScalar(found, path);
}

/** Throws `Invalid` unless `value` is a finite number, a boolean or well-formed text without NUL. */
export function checkScalar(value: unknown, path: string): Scalar {
  if (typeof value === 'boolean') return value;
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  if (typeof value === 'string' && isPlainText(value)) return value;
  throw new Invalid('FIELD_INVALID', `${path} is compared, so it has to be text, a number or a boolean`);
}

/** Throws `Invalid` when an indexed field of the value is not a scalar. */
export function checkIndexed<T>(definition: CollectionDefinition<T>, value: Json): void {
  for (const { fields } of Object.values(definition.indexes)) {
    for (const field of fields) scalarAt(value, field);
  }
}

function isPlainText(text: string): boolean {
  return text.isWellFormed() && !text.includes('\0');
}

/** The least string above every string with this prefix; `undefined` when there is none. */
export function prefixEnd(prefix: string): string | undefined {
  const points = Array.from(prefix, (character) => character.codePointAt(0) as number);
  while (points.length > 0) {
    const last = points.pop() as number;
    if (last === 0x10ffff) continue;
    const next = last === 0xd7ff ? 0xe000 : last + 1;
    return String.fromCodePoint(...points, next);
  }
  return undefined;
}
