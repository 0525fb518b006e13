/** Deliveries in hand: each once, whatever order they come and go in. */
import { expect, test } from '@jest/globals';
import type { Delivery } from '../src/entity-lane.ts';
import { Held } from '../src/held.ts';

const nothing = (): void => undefined;

function delivery(streamSequence: number): Delivery {
  const event = {} as Delivery['event'];
  return { event, body: '', natsSubject: '', streamSequence, ack: nothing, working: nothing };
}

function placesIn(held: Held): number[] {
  return Array.from(held, ({ streamSequence }) => streamSequence).sort((a, b) => a - b);
}

test('what was added is held once, until it is taken off, in whatever order', () => {
  const held = new Held();
  const [one, two, three, four] = [delivery(1), delivery(2), delivery(3), delivery(4)];
  for (const each of [one, two, three, two]) held.add(each);
  expect(held.size).toBe(3);
  held.delete(one);
  held.delete(one);
  held.delete(four);
  expect(placesIn(held)).toEqual([2, 3]);
  held.add(four);
  held.add(one);
  held.delete(three);
  expect(placesIn(held)).toEqual([1, 2, 4]);
  for (const each of [four, two, one]) held.delete(each);
  expect(held.size).toBe(0);
});
