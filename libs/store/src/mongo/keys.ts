// Index keys as text that sorts, on every server, as the values do: only ASCII, so that it is the same whether a
// server compares bytes, code points or UTF-16. Pure.
// Owner: the MongoDB adapter. Invariants: two keys of one index compare as their fields do, in order (strings by
// code point, numbers by size, numbers below strings); no key is the beginning of another, but for the id at its end.
import type { IndexDefinition, Json, Scalar } from '../collection.ts';
import { valueAt } from '../paths.ts';

/** Ends a field's text; sorts below every character in it. */
export const fieldEnd = ' ';
/** Sorts just behind everything that begins with the text before `fieldEnd`. */
export const behindField = '!';
/** What a field's text begins with. */
export const typeTag = { boolean: 'b', number: 'n', string: 's' } as const;

const plain = /^[\x22-\x7d]*$/;

/** A document's id, as `_id` and at the end of keys. */
export function idText(id: string): string {
  return plain.test(id) ? id : escaped(id);
}

/** What `idText` made the text of. */
export function idOf(text: string): string {
  if (!/[!~]/.test(text)) return text;
  const bytes = text.replaceAll(/[!~](..)/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Buffer.from(bytes, 'latin1').toString();
}

/** One field of a key, without its end. */
export function fieldText(value: Scalar): string {
  if (typeof value === 'boolean') return `${typeTag.boolean}${Number(value)}`;
  if (typeof value === 'number') return typeTag.number + numberText(value);
  return typeTag.string + (plain.test(value) ? value : escaped(value));
}

/** A document's key in an index; `undefined` when it lacks one of the fields. */
export function keyOf({ fields, unique }: IndexDefinition, id: string, value: Json): string | undefined {
  let key = '';
  for (const field of fields) {
    const found = valueAt(value, field);
    // Null, or what no write could have put there while the field was indexed.
    if (found === undefined || found === null || typeof found === 'object') return undefined;
    key += fieldText(found) + fieldEnd;
  }
  return unique === true ? key : key + idText(id);
}

/** By its UTF-8 bytes: below `"` as `!` and two digits, above `}` as `~` and two digits. */
function escaped(text: string): string {
  let result = '';
  for (const byte of Buffer.from(text)) {
    if (byte < 0x22) result += `!${byte.toString(16).padStart(2, '0')}`;
    else if (byte > 0x7d) result += `~${byte.toString(16)}`;
    else result += String.fromCharCode(byte);
  }
  return result;
}

const bits = new DataView(new ArrayBuffer(8));

/** The double's bits, turned round so that they sort as the numbers do. */
function numberText(value: number): string {
  bits.setFloat64(0, value + 0);
  const raw = bits.getBigUint64(0);
  const sorting = raw >> 63n === 1n ? ~raw & 0xffff_ffff_ffff_ffffn : raw | (1n << 63n);
  return sorting.toString(16).padStart(16, '0');
}
