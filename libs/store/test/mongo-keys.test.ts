// Index keys of the MongoDB adapter: they sort as the values do, whether compared by bytes or by UTF-16.
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { idOf, idText, keyOf } from '../src/mongo/keys.ts';

const text = fc
  .oneof(
    fc.string({ unit: 'binary', maxLength: 5 }),
    fc.string({
      unit: fc.constantFrom(' ', '!', '"', '}', '~', '\u007f', 'a', 'b', '\ud7ff', '\ue000', '\u{10ffff}'),
    }),
  )
  .filter((one) => one.isWellFormed());
const number = fc.oneof(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.integer({ min: -3, max: 3 }));

function order(a: string | number, b: string | number): number {
  if (typeof a === 'number') return Math.sign(a - Number(b));
  return Math.sign(Buffer.compare(Buffer.from(a), Buffer.from(String(b))));
}

function textOrder(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

test('ids come back from their texts, which are ASCII and sort as they do', () => {
  fc.assert(
    fc.property(text, text, (a, b) => {
      expect(idOf(idText(a))).toBe(a);
      expect(idText(a)).toMatch(/^[\x21-\x7e]*$/);
      expect(textOrder(idText(a), idText(b))).toBe(order(a, b));
    }),
    { numRuns: 2000 },
  );
});

test('keys of several fields sort field by field, then by id', () => {
  const index = { fields: ['name', 'size'] };
  const document = fc.record({ id: text, name: text, size: number });
  fc.assert(
    fc.property(document, document, (a, b) => {
      const fields = [order(a.name, b.name), order(a.size, b.size), order(a.id, b.id)];
      const wanted = fields.find((one) => one !== 0) ?? 0;
      expect(textOrder(keyOf(index, a.id, a) ?? '', keyOf(index, b.id, b) ?? '')).toBe(wanted);
    }),
    { numRuns: 2000 },
  );
});

test('a document that lacks a field has no key', () => {
  const index = { fields: ['a', 'b.c'] };
  for (const value of [
    {},
    { a: 1 },
    { a: 1, b: { c: null } },
    { a: null, b: { c: 1 } },
    { a: 1, b: [{ c: 1 }] },
  ]) {
    expect(keyOf(index, 'i', value)).toBeUndefined();
  }
  expect(keyOf(index, 'i', { a: true, b: { c: 'x' } })).toBe('b1 sx i');
});
