// Subjects are safe for the broker and can be read back; changed paths name exactly what differs.
import { describe, expect, test } from '@jest/globals';
import { Invalid } from '@nephos/service';
import fc from 'fast-check';
import { sameJson } from '../src/changes.ts';
import {
  changedPaths,
  decodeToken,
  encodeToken,
  filterSubject,
  type JsonObject,
  parseSubject,
  subjectOf,
} from '../src/index.ts';

describe('subjects', () => {
  test('hold nothing that the broker reads otherwise, whatever the text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        const token = encodeToken(text);
        expect(token).toMatch(/^[A-Za-z0-9_%-]+$/);
        expect(decodeToken(token)).toBe(text);
      }),
    );
  });

  test('are read back as written', () => {
    const address = { entity: 'vm', uid: '0192-a', owner: 'acme corp.*>', zone: 'zones/z 1' };
    const subject = subjectOf('entities', address);
    expect(subject).toBe('nephos.v1.acme%20corp%2E%2A%3E.z%201.vm.0192-a');
    expect(parseSubject(subject)).toEqual(address);
    const nowhere = { ...address, owner: '', zone: '' };
    expect(subjectOf('jobs', nowhere)).toBe('nephos-jobs.v1._._.vm.0192-a');
    expect(parseSubject(subjectOf('jobs', nowhere))).toEqual(nowhere);
  });

  test('of no event are refused', () => {
    for (const bad of [
      'nephos.v1.a.b.vm',
      'nephos.v2.a.b.vm.x',
      'other.v1.a.b.vm.x',
      'nephos.v1.%zz.b.vm.x',
    ]) {
      expect(() => parseSubject(bad)).toThrow(Invalid);
    }
    expect(() => decodeToken('%41')).toThrow(Invalid);
  });

  test('of a filter leave open what it leaves open', () => {
    expect(filterSubject('entities', {})).toBe('nephos.v1.*.*.*.*');
    expect(filterSubject('entities', { owner: '', zone: 'zones/z1', entity: 'vm' })).toBe(
      'nephos.v1._.z1.vm.*',
    );
    expect(filterSubject('entities', { owner: 'a.b', id: 'x' })).toBe('nephos.v1.a%2Eb.*.*.x');
  });
});

describe('changed paths', () => {
  const objects = fc
    .dictionary(fc.string({ maxLength: 3 }), fc.jsonValue({ maxDepth: 3 }), { maxKeys: 4 })
    .map((object) => object as JsonObject);

  test('are none exactly when the messages are equal, and the same both ways', () => {
    fc.assert(
      fc.property(objects, objects, (before, after) => {
        const paths = changedPaths(before, after);
        expect(paths.length === 0).toBe(sameJson(before, after));
        expect(changedPaths(after, before)).toEqual(paths);
        expect(changedPaths(before, structuredClone(before))).toEqual([]);
      }),
    );
  });

  test('name the one field that was changed', () => {
    const keys = fc.array(fc.stringMatching(/^[a-z]{1,3}$/), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(objects, keys, (object, path) => {
        const nest = (value: string): JsonObject =>
          path.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value) as JsonObject;
        const [root] = path as [string];
        const before = { ...object, ...nest('before') };
        expect(changedPaths(before, { ...object, ...nest('after') })).toEqual([path.join('.')]);
        expect(Object.hasOwn(before, root)).toBe(true);
      }),
    );
  });

  test('put keys with dots between backticks, and take a list as one', () => {
    const before = { header: { labels: { 'a.b': '1', '`': 'x' } }, nics: [{ mac: '1' }] };
    const after = { header: { labels: { 'a.b': '2' } }, nics: [{ mac: '2' }], status: { state: 'RUNNING' } };
    expect(changedPaths(before, after)).toEqual([
      'header.labels.````',
      'header.labels.`a.b`',
      'nics',
      'status',
    ]);
  });
});
