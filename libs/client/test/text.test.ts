import { expect, test } from '@jest/globals';
import { durationText, enumText, eventText, sizeText } from '@nephos/client';
import type { EntityEvent } from '@nephos/events';

test.each([
  [0.4, '0 ms'],
  [340, '340 ms'],
  [4210, '4.2 s'],
  [200_000, '3 min 20 s'],
])('%d ms reads as %s', (ms, text) => {
  expect(durationText(ms)).toBe(text);
});

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [134_217_728, '128 MiB'],
  [1_610_612_736, '1.5 GiB'],
])('%d bytes read as %s', (bytes, text) => {
  expect(sizeText(bytes)).toBe(text);
});

test.each([
  ['STATE_RUNNING', 'RUNNING'],
  ['JOB_STATE_SUCCEEDED', 'SUCCEEDED'],
  ['POWER_ON', 'ON'],
])('%s reads as %s', (value, text) => {
  expect(enumText(value)).toBe(text);
});

const event: EntityEvent = {
  id: 'vm/u/3',
  entity: 'vm',
  verb: 'updated',
  source: '/nephos/orchestrator',
  subject: 'vms/0192f4c3-0000-7000-8000-aaaaaaaaaaaa',
  uid: '0192f4c3-0000-7000-8000-aaaaaaaaaaaa',
  owner: '',
  zone: '',
  sequence: 3,
  firstSequence: 3,
  resync: false,
  time: new Date(0),
  changedPaths: ['header.etag', 'status.state', 'status.host'],
  old: { header: { displayName: 'web', etag: '1' }, status: { state: 'STATE_PENDING' } },
  new: {
    header: { displayName: 'web', etag: '2' },
    status: { state: 'STATE_STARTING', host: 'hosts/0192f4c3-0000-7000-8000-bbbbbbbbbbbb' },
  },
};

test('an event says what changed, without what changes always', () => {
  expect(eventText(event)).toBe(
    'vm web #3 updated: status.state PENDING → STARTING, status.host – → hosts/…bbbbbbbb',
  );
});

test('what was made or removed is told by its name alone', () => {
  const { old: _old, ...created } = event;
  expect(eventText({ ...created, verb: 'created' })).toBe('vm web #3 created');
  const { new: _new, ...removed } = event;
  expect(eventText({ ...removed, verb: 'deleted' })).toBe('vm web #3 deleted');
});
