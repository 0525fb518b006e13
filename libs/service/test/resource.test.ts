import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  applyUpdateMask,
  Conflict,
  checkDisplayName,
  checkEtag,
  checkHeader,
  checkLabels,
  etagOf,
  type FilterCondition,
  Invalid,
  NephosError,
  NotFound,
  newUid,
  pageSizeOf,
  pageTokenOf,
  parseFilter,
  parseResourceName,
  readPageToken,
  updatePaths,
  whereOf,
} from '../src/index.ts';

function refusal(act: () => unknown): NephosError {
  try {
    act();
  } catch (error) {
    if (error instanceof NephosError) return error;
    throw error;
  }
  throw new Error('was not refused');
}

describe('names and headers', () => {
  const uid = newUid();

  test('a resource name gives its uid', () => {
    expect(parseResourceName('vms', `vms/${uid}`)).toBe(uid);
  });

  test.each(['', 'vms', 'vms/', `volumes/${uid}`, `vms/${uid}/x`, `/vms/${uid}`])('%j is refused', (name) => {
    const error = refusal(() => parseResourceName('vms', name, 'vm.name'));
    expect(error).toBeInstanceOf(Invalid);
    expect(error.reason).toBe(name === '' ? 'FIELD_REQUIRED' : 'FIELD_INVALID');
    expect(error.details.fields?.[0]?.field).toBe('vm.name');
  });

  test('a name of the right shape that nothing can have is NotFound', () => {
    expect(refusal(() => parseResourceName('vms', 'vms/web-1'))).toBeInstanceOf(NotFound);
  });

  test.each(['web-1', 'Grüße_2.0', 'a b', 'x'.repeat(63)])('%j is a display name', (name) => {
    expect(() => checkDisplayName(name)).not.toThrow();
  });

  test.each(['', ' a', 'a ', 'x'.repeat(64), 'a/b', 'a\nb', '<b>'])('%j is none', (name) => {
    expect(refusal(() => checkDisplayName(name)).details.fields?.[0]?.field).toBe('header.display_name');
  });

  test('labels have bounds, and all violations are told at once', () => {
    expect(() => checkLabels({ tier: 'web', 'app.io/name': '' })).not.toThrow();
    const error = refusal(() => checkLabels({ '-x': 'v', ok: 'v'.repeat(64), tab: 'a\tb' }));
    expect(error.details.fields?.map(({ field }) => field)).toEqual([
      'header.labels.-x',
      'header.labels.ok',
      'header.labels.tab',
    ]);
    const many = Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`k${i}`, 'v']));
    expect(refusal(() => checkLabels(many)).message).toContain('at most 64 pairs');
  });

  test('a header is checked as a whole', () => {
    const annotations = { big: 'x'.repeat(40_000) };
    const error = refusal(() =>
      checkHeader({ displayName: '', owner: '', labels: { '': 'x' }, annotations }, 'vm.header'),
    );
    expect(error.details.fields?.map(({ field }) => field)).toEqual([
      'vm.header.display_name',
      'vm.header.labels.',
      'vm.header.annotations',
    ]);
  });

  test('a stale etag is a conflict, an empty one asks for no check', () => {
    expect(() => checkEtag(etagOf(uid, 3), uid, 3)).not.toThrow();
    expect(() => checkEtag('', uid, 3)).not.toThrow();
    const error = refusal(() => checkEtag(etagOf(uid, 2), uid, 3));
    expect(error).toBeInstanceOf(Conflict);
    expect(error.reason).toBe('ETAG_MISMATCH');
  });
});

describe('pages', () => {
  test('sizes', () => {
    expect([0, 1, 500, 501, 1e9].map((asked) => pageSizeOf(asked))).toEqual([50, 1, 500, 500, 500]);
    expect(refusal(() => pageSizeOf(-1)).details.fields?.[0]?.field).toBe('page_size');
  });

  test('a token gives its cursor back, and only to the query it is of', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), fc.array(fc.string()), (cursor, query) => {
        const token = pageTokenOf(cursor, query);
        expect(readPageToken(token, query)).toBe(
          cursor.isWellFormed() ? cursor : readPageToken(token, query),
        );
        expect(refusal(() => readPageToken(token, [...query, 'other'])).reason).toBe('PAGE_TOKEN_INVALID');
      }),
    );
    expect(pageTokenOf(undefined, [])).toBe('');
    expect(readPageToken('', ['q'])).toBeUndefined();
  });

  test('nothing else is a token', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), (text) => {
        expect(refusal(() => readPageToken(text, ['q'])).reason).toBe('PAGE_TOKEN_INVALID');
      }),
    );
  });
});

describe('update masks', () => {
  interface Thing {
    header: { displayName: string; labels: Record<string, string>; owner: string };
    spec: { vcpus: number; memoryBytes: bigint };
  }
  const current: Thing = {
    header: { displayName: 'old', labels: { a: '1' }, owner: 'ann' },
    spec: { vcpus: 1, memoryBytes: 1n },
  };
  const patch: Thing = {
    header: { displayName: 'new', labels: {}, owner: 'bob' },
    spec: { vcpus: 0, memoryBytes: 2n },
  };
  const allowed = ['header.display_name', 'header.labels', 'spec.vcpus', 'spec.memory_bytes'];

  test('what is named is taken, also where the new value is empty', () => {
    const updated = applyUpdateMask(current, patch, ['header.labels', 'spec.vcpus'], allowed);
    expect(updated).toEqual({
      header: { displayName: 'old', labels: {}, owner: 'ann' },
      spec: { vcpus: 0, memoryBytes: 1n },
    });
    expect(current.header.labels).toEqual({ a: '1' });
  });

  test('without a mask what is populated is taken', () => {
    expect(updatePaths(undefined, allowed, patch)).toEqual(['header.display_name', 'spec.memory_bytes']);
  });

  test.each(['header.owner', 'nothing', 'header', 'headers.display_name', '*'])('%s is refused', (path) => {
    const error = refusal(() => applyUpdateMask(current, patch, [path], allowed));
    expect(error.reason).toBe('UPDATE_MASK_INVALID');
    expect(error.message).toContain(path);
    expect(error.message).toContain('spec.memory_bytes');
  });
});

describe('filters', () => {
  const fields = {
    state: { path: 'status.state', type: 'string', values: ['RUNNING', 'STOPPED'] },
    display_name: { path: 'header.displayName', type: 'string' },
    vcpus: { path: 'spec.vcpus', type: 'number' },
    enabled: { path: 'enabled', type: 'boolean' },
    create_time: { path: 'createTime', type: 'timestamp' },
    labels: { path: 'header.labels', type: 'map' },
  } as const;
  const parse = (text: string): FilterCondition[] => parseFilter(text, fields);

  test('comparisons of every type, joined by AND, in parentheses or not', () => {
    const text =
      'state = RUNNING AND (display_name = "web*" AND vcpus >= 2) AND vcpus<8 AND enabled = true' +
      ' AND create_time > "2026-01-01T02:00:00+02:00" AND labels.tier = "a \\"b\\" \\\\"';
    expect(parse(text)).toEqual([
      { path: 'status.state', op: '=', value: 'RUNNING' },
      { path: 'header.displayName', op: 'prefix', value: 'web' },
      { path: 'spec.vcpus', op: '>=', value: 2 },
      { path: 'spec.vcpus', op: '<', value: 8 },
      { path: 'enabled', op: '=', value: true },
      { path: 'createTime', op: '>', value: '2026-01-01T00:00:00.000Z' },
      { path: 'header.labels.tier', op: '=', value: 'a "b" \\' },
    ]);
    expect(whereOf(parse(text))).toMatchObject({
      'status.state': 'RUNNING',
      'header.displayName': { prefix: 'web' },
      'spec.vcpus': { gte: 2, lt: 8 },
    });
    expect(parse('')).toEqual([]);
    expect(parse('  ')).toEqual([]);
  });

  test.each([
    ['state', 'expected =, <, <=, > or >=, found the end (at character 6)'],
    ['state = ', 'expected a value, found the end (at character 9)'],
    ['state = "RUN', 'a quoted text does not end'],
    ['state = GONE', '"GONE" is not one of RUNNING, STOPPED (at character 9)'],
    ['owner = "x"', 'owner cannot be filtered by; can be: state, display_name,'],
    ['__proto__ = "x"', '__proto__ cannot be filtered by'],
    ['state = RUNNING OR vcpus = 1', 'OR is not supported: only AND (at character 17)'],
    ['NOT vcpus = 1', 'NOT is not supported (at character 1)'],
    ['vcpus != 1', '!= is not supported: only =, <, <=, > and >= (at character 7)'],
    ['vcpus = many', 'many is no number (at character 9)'],
    ['enabled = 1', '1 is neither true nor false'],
    ['enabled > true', 'true and false only take ='],
    ['create_time = "yesterday"', '"yesterday" is no RFC 3339 time'],
    ['display_name = "*"', 'only one * at the end'],
    ['display_name = "a*b*"', 'only one * at the end'],
    ['display_name > "a*"', 'a prefix only takes ='],
    ['labels = "x"', 'labels needs a key'],
    ['labels.a.b = "x"', 'keys with a dot cannot be filtered by'],
    ['(vcpus = 1', 'expected ")", found the end (at character 11)'],
    ['vcpus = 1)', 'expected AND or the end, found ")" (at character 10)'],
    ['vcpus = 1 vcpus = 2', 'expected AND or the end, found "vcpus"'],
    ['vcpus = 1 AND ;', '";" has no meaning here (at character 15)'],
    [`${'('.repeat(9)}vcpus = 1${')'.repeat(9)}`, 'is nested deeper than 8 (at character 9)'],
    [Array(33).fill('vcpus = 1').join(' AND '), 'has more than 32 comparisons'],
    ['x'.repeat(2049), 'is longer than 2048 bytes'],
  ])('%j is refused with where and why', (text, why) => {
    const error = refusal(() => parse(text));
    expect(error.reason).toBe('FILTER_INVALID');
    expect(error.message).toContain(why);
    expect(error.details.fields?.[0]?.field).toBe('filter');
  });

  test('a path bound twice in the same way is refused for a store', () => {
    for (const text of ['vcpus = 1 AND vcpus = 2', 'vcpus > 1 AND vcpus > 2', 'vcpus = 1 AND vcpus > 0']) {
      expect(refusal(() => whereOf(parse(text))).message).toContain('spec.vcpus is compared twice');
    }
  });

  test('any text either parses or is refused as a filter: nothing else comes out', () => {
    const word = fc.constantFrom(
      'state',
      'vcpus',
      'labels.k',
      'AND',
      'OR',
      '(',
      ')',
      '=',
      '<=',
      '"x"',
      '"',
      '*',
      '1',
      ' ',
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(word).map((words) => words.join(' ')),
        ),
        (text) => {
          try {
            for (const { path } of parse(text)) expect(path.length).toBeGreaterThan(0);
          } catch (error) {
            expect(error).toBeInstanceOf(Invalid);
            expect((error as Invalid).reason).toBe('FILTER_INVALID');
          }
        },
      ),
      { numRuns: 2000 },
    );
  });

  test('what is written quoted comes back as it was', () => {
    const text = fc.string({ maxLength: 200 }).filter((value) => !value.endsWith('*'));
    fc.assert(
      fc.property(text, (value) => {
        const quoted = `"${value.replace(/["\\]/g, '\\$&')}"`;
        expect(parse(`display_name = ${quoted} AND (labels.k = ${quoted})`)).toEqual([
          { path: 'header.displayName', op: '=', value },
          { path: 'header.labels.k', op: '=', value },
        ]);
      }),
    );
  });
});
