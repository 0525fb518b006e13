// What a relay may trust of events that it did not hear of, by the clock that it reads.
import { expect, test } from '@jest/globals';
import { Lanes } from '../src/relay-lanes.ts';

const nobodyKnows = Number.NEGATIVE_INFINITY;
const event = (seq: number) => ({ seq, firstSeq: seq, at: '2026-01-02T03:04:05.678Z', payload: null });

/** Finds an event of an entity that is in no lane; since when is it in no stream, as far as the lanes know? */
function foundAnew(lanes: Lanes, id: string): number | undefined {
  while (lanes.next()) continue;
  const found = { collection: 'zones', id, deleted: false, eventSeq: 1, events: [event(1)] };
  lanes.found({ ...found, key: `zones/${id}` });
  return lanes.next()?.unpublishedSince;
}

function scan(lanes: Lanes, at: number): void {
  lanes.scanBegins(at);
  lanes.scanEnds();
}

test('what is found before the outbox was read once may have been published by another', () => {
  const lanes = new Lanes(true);
  lanes.scanBegins(10);
  expect(foundAnew(lanes, 'a')).toBe(nobodyKnows);
});

test('what was missed since all was known is in no stream since then', () => {
  const lanes = new Lanes(true);
  scan(lanes, 10);
  lanes.miss(20);
  lanes.miss(25);
  lanes.scanBegins(30);
  expect(foundAnew(lanes, 'a')).toBe(20);
  lanes.miss(35);
  lanes.scanEnds();
  lanes.scanBegins(40);
  expect(foundAnew(lanes, 'b')).toBe(30);
});

test('what could not be cleared is not trusted before the outbox was read again', () => {
  const lanes = new Lanes(true);
  scan(lanes, 10);
  lanes.scanBegins(20);
  lanes.doubt();
  expect(foundAnew(lanes, 'a')).toBe(nobodyKnows);
  lanes.scanEnds();
  lanes.miss(30);
  expect(foundAnew(lanes, 'b')).toBe(nobodyKnows);
  scan(lanes, 40);
  lanes.miss(50);
  expect(foundAnew(lanes, 'c')).toBe(50);
  lanes.reset();
  expect(foundAnew(lanes, 'd')).toBe(nobodyKnows);
});

test('where others write as well, nothing is known of what they published', () => {
  const lanes = new Lanes(false);
  scan(lanes, 10);
  lanes.miss(20);
  expect(foundAnew(lanes, 'a')).toBe(nobodyKnows);
});
