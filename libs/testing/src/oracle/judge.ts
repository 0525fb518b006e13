/**
 * Compares what a subscriber saw with what the stores counted. Pure.
 * An entity's events are dense from 1 to its counter. On the wire an event may come again (at least once); a
 * subscriber drops what its entity's last sequence covers, and after that nothing may be missing, twice or late.
 */

/** One message as it lies in a stream, in the stream's order. */
export interface SeenEvent {
  /** Of the entity; uids are unique over all entities. */
  readonly uid: string;
  readonly entity: string;
  readonly sequence: number;
  /** Less than `sequence` where the relay collapsed several into one while the broker was away. */
  readonly firstSequence: number;
}

/** What an entity's store says of it. */
export interface Counter {
  readonly uid: string;
  readonly entity: string;
  /** Sequence of its last event. */
  readonly eventSeq: number;
  /** Events that still wait for the relay. */
  readonly pending: readonly { readonly firstSequence: number; readonly sequence: number }[];
}

export interface EventVerdict {
  readonly entities: number;
  readonly events: number;
  /** Came again and were dropped by their sequence. */
  readonly repeats: number;
  /** Still in an outbox. */
  readonly pending: number;
  /** Each a line that says which entity and what. Empty: all is well. */
  readonly problems: readonly string[];
}

export interface JudgeOptions {
  /** Whether repeats are dropped by their sequence, as every subscriber must. False proves that it matters. */
  readonly dedup?: boolean;
}

interface Course {
  readonly entity: string;
  last: number;
  /** Sequences that were passed over and not seen since. */
  readonly missing: Set<number>;
}

export function judgeEvents(
  seen: readonly SeenEvent[],
  counters: readonly Counter[],
  { dedup = true }: JudgeOptions = {},
): EventVerdict {
  const problems: string[] = [];
  const courses = new Map<string, Course>();
  let repeats = 0;
  for (const event of seen) {
    const course = courses.get(event.uid) ?? { entity: event.entity, last: 0, missing: new Set<number>() };
    courses.set(event.uid, course);
    if (follow(course, event, problems)) continue;
    repeats += 1;
    if (!dedup) problems.push(`${nameOf(event)}: event ${event.sequence} came twice`);
  }
  let pending = 0;
  for (const counter of counters) {
    pending += counter.pending.length;
    settle(counter, courses.get(counter.uid), problems);
    courses.delete(counter.uid);
  }
  for (const [uid, { entity, last }] of courses) {
    problems.push(`${nameOf({ entity, uid })}: ${last} events of an entity that no store knows`);
  }
  return { entities: counters.length, events: seen.length, repeats, pending, problems };
}

/** Returns whether the event was new. */
function follow(course: Course, event: SeenEvent, problems: string[]): boolean {
  const { sequence, firstSequence } = event;
  if (sequence <= course.last) {
    if (!course.missing.delete(sequence)) return false;
    problems.push(`${nameOf(event)}: event ${sequence} came after ${course.last}`);
    return true;
  }
  for (let missed = course.last + 1; missed < firstSequence; missed += 1) course.missing.add(missed);
  course.last = sequence;
  return true;
}

function settle(counter: Counter, course: Course | undefined, problems: string[]): void {
  const { eventSeq, pending } = counter;
  const last = course?.last ?? 0;
  const missing = new Set(course?.missing);
  for (let missed = last + 1; missed <= eventSeq; missed += 1) missing.add(missed);
  for (const { firstSequence, sequence } of pending) {
    for (let waiting = firstSequence; waiting <= sequence; waiting += 1) missing.delete(waiting);
  }
  if (missing.size > 0) {
    problems.push(`${nameOf(counter)}: lost ${[...missing].join(', ')} of ${eventSeq} events`);
  }
  if (last > eventSeq)
    problems.push(`${nameOf(counter)}: saw event ${last}, its store counted to ${eventSeq}`);
}

function nameOf({ entity, uid }: { readonly entity: string; readonly uid: string }): string {
  return `${entity} ${uid}`;
}
