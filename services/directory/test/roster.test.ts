/** The rules of the roster, without a bus: who counts as alive, what is written over what, which events follow. */
import { expect, test } from '@jest/globals';
import { advance, end, type InstanceFacts, type InstanceRecord, type Said } from '../src/domain/record.ts';
import { Roster } from '../src/domain/roster.ts';

const uid = '0192f4c3-0000-7000-8000-000000000001';
const at = '2026-01-01T00:00:00.000Z';
const facts: InstanceFacts = {
  service: 'orchestrator',
  version: '1',
  displayName: '',
  zone: '',
  labels: {},
  address: '127.0.0.1:1',
  grpcServices: [],
  health: 'SERVING',
  weight: 100,
  leaseMs: 1000,
  process: { host: 'here', pid: 1, startTime: at },
};

function said(beat: number, changed: Partial<InstanceFacts> = {}): Said {
  return { uid, facts: { ...facts, ...changed }, beat, load: 0, callees: [], at };
}

/** Two replicas over one bucket with compare-and-set, as the bus has it. */
function bucket() {
  let kept: { record: InstanceRecord | undefined; revision: number } = { record: undefined, revision: 0 };
  const replica = () => {
    const roster = new Roster(() => {});
    roster.keptRead();
    return roster;
  };
  /** Writes what the roster wants, as the registry does; returns the records written. */
  const flush = (roster: Roster, now: number): InstanceRecord[] => {
    const written: InstanceRecord[] = [];
    for (;;) {
      const next = roster.nextWrite(uid, now);
      if (next === undefined) return written;
      if (next.over === kept.revision) {
        kept = { record: next.record, revision: kept.revision + 1 };
        written.push(next.record);
      }
      roster.observe(uid, kept, now);
    }
  };
  return { replica, flush, see: (roster: Roster, now: number) => roster.observe(uid, kept, now) };
}

test('a lease that runs out at one replica loses against a renewal at another', () => {
  const { replica, flush, see } = bucket();
  const [one, other] = [replica(), replica()];
  one.register(said(1), 0);
  flush(one, 0);
  see(other, 0);
  expect(other.lapsed(600, 0)).toEqual([]);
  flush(other, 600);
  expect(other.lapsed(1001, 0)).toEqual([uid]);
  expect(one.renew(uid, { beat: 2, health: 'SERVING', load: 0, callees: [], at }, 900)).toBe(true);
  see(one, 900);
  flush(one, 900);
  other.lapse(uid, at);
  expect(flush(other, 1001)).toEqual([]);
  expect(other.get(uid)).toBeDefined();
  expect(other.lapsed(1900, 0)).toEqual([]);
});

test('who was not heard of is asked for first; whoever heard of it answers, and only then', () => {
  const { replica, flush, see } = bucket();
  const [one, other] = [replica(), replica()];
  const renewal = { health: 'SERVING', load: 0, callees: [], at } as const;
  one.register(said(1), 0);
  const [made] = flush(one, 0);
  one.published(uid, made?.eventSeq ?? 0);
  flush(one, 0);
  see(other, 0);
  one.renew(uid, { ...renewal, beat: 2 }, 400);
  expect(flush(one, 400)).toMatchObject([{ beat: 2, pending: undefined }]);
  see(other, 400);
  one.renew(uid, { ...renewal, beat: 3 }, 800);
  expect(flush(one, 800)).toEqual([]);

  // However late: nobody has been asked yet.
  expect(other.lapsed(2000, 0)).toEqual([]);
  expect(flush(other, 2000)).toMatchObject([{ beat: 2, questionedBeat: 2 }]);
  expect(flush(other, 2001)).toEqual([]);
  see(one, 2000);
  expect(other.lapsed(2100, 0)).toEqual([]);
  expect(flush(one, 2100)).toMatchObject([{ beat: 3 }]);
  see(other, 2100);
  expect(other.lapsed(2600, 0)).toEqual([]);

  // Nobody has heard anything since: it is gone a while after the question.
  expect(one.lapsed(3100, 0)).toEqual([]);
  expect(flush(one, 3100)).toMatchObject([{ questionedBeat: 3 }]);
  expect(one.lapsed(3400, 0)).toEqual([]);
  expect(one.lapsed(3450, 0)).toEqual([uid]);
});

test('a beat that another replica heard counts where an instance is taken out', () => {
  const { replica, flush, see } = bucket();
  const [one, other] = [replica(), replica()];
  one.register(said(1), 0);
  flush(one, 0);
  see(other, 0);
  one.renew(uid, { beat: 7, health: 'SERVING', load: 0, callees: [], at }, 100);
  other.heard(uid, 7, 200);
  other.leave(uid, other.lastBeat(uid), at);
  expect(flush(other, 300)).toMatchObject([{ ended: true, beat: 7 }]);
  see(one, 300);
  expect(one.get(uid)).toBeUndefined();
  expect(flush(one, 300)).toEqual([]);
});

test('a lease that ran out is written once, by whichever replica comes first', () => {
  const { replica, flush, see } = bucket();
  const [one, other] = [replica(), replica()];
  one.register(said(1), 0);
  flush(one, 0);
  see(other, 0);
  one.lapse(uid, at);
  other.lapse(uid, at);
  expect(flush(one, 2000)).toMatchObject([{ ended: true, eventSeq: 2, pending: { verb: 'deleted' } }]);
  expect(flush(other, 2000)).toEqual([]);
  expect([one.get(uid), other.get(uid)]).toEqual([undefined, undefined]);
});

test('the later word counts, whichever arrives last; a late renewal does not undo a departure', () => {
  const { replica, flush } = bucket();
  const roster = replica();
  roster.register(said(2, { labels: { a: 'new' } }), 0);
  roster.register(said(1, { labels: { a: 'old' } }), 1);
  expect(roster.get(uid)?.state.facts.labels).toEqual({ a: 'new' });
  flush(roster, 1);
  roster.leave(uid, 4, at);
  expect(roster.renew(uid, { beat: 3, health: 'SERVING', load: 0, callees: [], at }, 2)).toBe(false);
  flush(roster, 2);
  roster.register(said(3), 3);
  flush(roster, 3);
  expect(roster.get(uid)).toBeUndefined();
});

test('an instance that comes back after its end goes on counting over the tombstone', () => {
  const { replica, flush } = bucket();
  const roster = replica();
  roster.register(said(1), 0);
  flush(roster, 0);
  roster.published(uid, 1);
  roster.leave(uid, 2, at);
  flush(roster, 0);
  roster.published(uid, 2);
  flush(roster, 0);
  const fresh = replica();
  fresh.register(said(3), 1);
  expect(flush(fresh, 1)).toMatchObject([{ eventSeq: 3, pending: { firstSeq: 3, verb: 'created' } }]);
});

test('renewals are no events; a published change is forgotten with the next write', () => {
  const first = advance(undefined, said(1), 0);
  expect(first).toMatchObject({ eventSeq: 1, pending: { firstSeq: 1, seq: 1, verb: 'created' } });
  expect(advance(first, said(2), 0)).toMatchObject({ eventSeq: 1, beat: 2 });
  const { replica, flush } = bucket();
  const roster = replica();
  roster.register(said(1), 0);
  flush(roster, 0);
  roster.published(uid, 1);
  roster.renew(uid, { beat: 2, health: 'SERVING', load: 0.5, callees: [], at }, 1);
  expect(flush(roster, 1)).toEqual([]);
  const [written] = flush(roster, 400);
  expect(written).toMatchObject({ eventSeq: 1, load: 0.5 });
  expect(written?.pending).toBeUndefined();
});

test('changes that were not published become one that says which it stands for', () => {
  const created = advance(undefined, said(1), 0);
  const sick = advance(created, said(2, { health: 'NOT_SERVING' }), 0);
  expect(sick.pending).toEqual({ firstSeq: 1, seq: 2, verb: 'created', at });
  const gone = end(sick, 3, at);
  expect(gone.pending).toMatchObject({ firstSeq: 1, seq: 3, verb: 'deleted' });
});

test('a record that the bus lost is restated, beyond what was ever counted', () => {
  const { replica, flush } = bucket();
  const roster = replica();
  roster.register(said(1), 0);
  flush(roster, 0);
  roster.forgetKept();
  expect(roster.nextWrite(uid, 0)).toBeUndefined();
  roster.keptRead();
  const next = roster.nextWrite(uid, 0);
  expect(next?.over).toBe(0);
  expect(next?.record.pending).toMatchObject({ firstSeq: 1, seq: 2, verb: 'restated' });
});

test('fields that a newer replica stored stay through an older one', () => {
  const newer = {
    ...advance(undefined, said(1), 0),
    schema: 2,
    later: 'kept',
    facts: { ...facts, more: 'kept' },
  };
  const renewed = advance(newer, said(2, { health: 'DRAINING' }), 0);
  expect(renewed).toMatchObject({ schema: 2, later: 'kept', facts: { more: 'kept', health: 'DRAINING' } });
});

test("a service that took another's uid before the bus was read does not keep it", () => {
  const { replica, flush } = bucket();
  const one = replica();
  one.register(said(1), 0);
  const [record] = flush(one, 0);
  const started = new Roster(() => {});
  started.register(said(2 ** 50, { service: 'template' }), 0);
  started.observe(uid, { record, revision: 1 }, 0);
  started.keptRead();
  expect(started.list().map(({ state }) => state.facts.service)).toEqual(['orchestrator']);
  expect(flush(started, 0)).toEqual([]);
});
