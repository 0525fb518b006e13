import { expect, test } from '@jest/globals';
import { fields, table } from '../src/table.ts';

const columns = [
  { title: 'NAME', path: 'header.displayName' },
  { title: 'STATE', path: 'state' },
  { title: 'CPUS', path: 'cpus', format: (value: unknown) => `${Number(value ?? 0)}` },
];

test('columns are aligned, also where characters are wide, and what is missing is a dash', () => {
  const rows = [
    { header: { displayName: 'web' }, state: 'RUNNING', cpus: 2 },
    { header: { displayName: '雲の上' }, state: '' },
  ];
  expect(table(columns, rows)).toBe(
    ['NAME    STATE    CPUS', 'web     RUNNING  2', '雲の上  -        0'].join('\n'),
  );
});

test('an empty list has its titles', () => {
  expect(table(columns, [])).toBe('NAME  STATE  CPUS');
});

test('a table that is wider than the terminal leaves out what no row has, and shows ends of uids', () => {
  const uid = '01a2078d-c70f-7478-a81f-90eb6bc3a0be';
  const ofJobs = [
    { title: 'TARGET', path: 'target' },
    { title: 'REASON', path: 'reason' },
    { title: 'UID', path: 'uid' },
  ];
  const rows = [{ target: `vms/${uid}`, uid }];
  expect(table(ofJobs, rows, 90)).toBe(table(ofJobs, rows));
  expect(table(ofJobs, rows, 80)).toBe('TARGET             UID\nvms/…90eb6bc3a0be  90eb6bc3a0be');
});

test('names cannot steer the terminal', () => {
  const row = { header: { displayName: 'a\u001b[2Jb\u202ec' } };
  expect(table(columns, [row])).not.toMatch(/(?!\n)[\p{Cc}\p{Cf}]/u);
  expect(fields(row)).not.toMatch(/(?!\n)[\p{Cc}\p{Cf}]/u);
});

test('everything that is said is shown, indented; what is empty is left out', () => {
  const value = {
    header: { name: 'vms/1', labels: {} },
    reasons: ['full'],
    spec: { vcpus: 2, host: '' },
    ways: [{ a: 1, b: 2 }],
  };
  expect(fields(value)).toBe(
    [
      'header:',
      '  name: vms/1',
      'reasons:',
      '  - full',
      'spec:',
      '  vcpus: 2',
      'ways:',
      '  - a: 1',
      '    b: 2',
    ].join('\n'),
  );
});
