/** The judge itself: it must see every way in which events can go wrong, or its silence would mean nothing. */
import { describe, expect, test } from '@jest/globals';
import { type Counter, judgeEvents, type SeenEvent } from '../src/index.ts';

const event = (sequence: number, firstSequence = sequence, uid = 'a'): SeenEvent => ({
  entity: 'vm',
  uid,
  sequence,
  firstSequence,
});
const counter = (eventSeq: number, pending: Counter['pending'] = [], uid = 'a'): Counter => ({
  entity: 'vm',
  uid,
  eventSeq,
  pending,
});

describe('in order', () => {
  test.each([
    ['each once', [event(1), event(2), event(3)], [counter(3)]],
    [
      'two entities between each other',
      [event(1), event(1, 1, 'b'), event(2)],
      [counter(2), counter(1, [], 'b')],
    ],
    ['several collapsed into one', [event(1), event(5, 2), event(6)], [counter(6)]],
    ['the last ones still in the outbox', [event(1)], [counter(4, [{ firstSequence: 2, sequence: 4 }])]],
    ['nothing published yet', [], [counter(1, [{ firstSequence: 1, sequence: 1 }])]],
  ])('%s', (_what, seen, counters) => {
    expect(judgeEvents(seen, counters).problems).toEqual([]);
  });

  test('a repeat is dropped and counted', () => {
    const verdict = judgeEvents([event(1), event(2), event(1), event(2), event(3)], [counter(3)]);
    expect(verdict).toMatchObject({ problems: [], repeats: 2 });
  });
});

describe('not in order', () => {
  test.each([
    ['one lost between', [event(1), event(3)], [counter(3)], 'lost 2 of 3'],
    ['the last one lost', [event(1)], [counter(2)], 'lost 2 of 2'],
    ['all lost', [], [counter(2)], 'lost 1, 2 of 2'],
    ['one late', [event(1), event(3), event(2)], [counter(3)], 'event 2 came after 3'],
    ['more than were counted', [event(1), event(2)], [counter(1)], 'saw event 2, its store counted to 1'],
    ['of an entity that nobody knows', [event(1)], [], 'no store knows'],
    [
      'a hole before what is pending',
      [event(1)],
      [counter(3, [{ firstSequence: 3, sequence: 3 }])],
      'lost 2 of 3',
    ],
  ])('%s', (_what, seen, counters, problem) => {
    expect(judgeEvents(seen, counters).problems).toEqual([expect.stringContaining(problem)]);
  });

  test('a repeat, where nobody drops repeats', () => {
    const verdict = judgeEvents([event(1), event(2), event(1)], [counter(2)], { dedup: false });
    expect(verdict.problems).toEqual(['vm a: event 1 came twice']);
  });
});
