// A write carries exactly the event that the change of the public message asks for.
import { describe, expect, test } from '@jest/globals';
import { Conflict, Internal, Invalid, NotFound } from '@nephos/service';
import { type EventPayload, encodeEvent, isRemoval, payloadOf } from '../src/cloudevent.ts';
import { EncodedPayload } from '../src/encoded-payload.ts';
import { collapseEvents } from '../src/entity.ts';
import { defineEntity } from '../src/index.ts';
import { type Ground, openGround, zoneEntity } from './harness.ts';

async function pendingOf({
  store,
}: Ground): Promise<{ seq: number; firstSeq: number; payload: EventPayload }[]> {
  const documents = await store.outbox.pending({ limit: 100 });
  return documents.flatMap(({ events }) =>
    events.map((event) => ({ ...event, payload: payloadOf(event.payload) })),
  );
}

describe('a write of an entity', () => {
  test('says what was and what is, with the etag that the write results in', async () => {
    await using ground = await openGround();
    const inserted = await ground.zones.insert('z1', { owner: 'acme', description: 'one' });
    const changed = await ground.zones.modify('z1', (value) => ({ ...value, description: 'two' }), {
      verb: 'renamed',
    });
    await ground.zones.remove('z1');
    const [created, renamed, deleted] = await pendingOf(ground);
    const one = zoneEntity.message.toJSON(ground.zones.message(inserted));
    const two = zoneEntity.message.toJSON(ground.zones.message(changed));
    expect(created?.payload).toMatchObject({ verb: 'created', change: { new: one } });
    expect(created?.payload.change.old).toBeUndefined();
    expect(renamed?.payload).toMatchObject({
      verb: 'renamed',
      name: 'zones/z1',
      schema: 'nephos.orchestration.v1.Zone',
      source: '/nephos/test',
      change: { old: one, new: two, changedPaths: ['description', 'header.etag'] },
    });
    expect(deleted?.payload).toMatchObject({ verb: 'deleted', change: { old: two } });
    expect(deleted?.payload.change.new).toBeUndefined();
  });

  test('that changes nothing public, or is quiet, has no event and leaves the counter', async () => {
    await using ground = await openGround();
    await ground.zones.insert('z1', { owner: 'acme', description: 'one' });
    const hidden = await ground.zones.modify('z1', (value) => ({ ...value, private: 7 }));
    expect([hidden.revision, hidden.eventSeq]).toEqual([2, 1]);
    const quiet = await ground.zones.modify('z1', (value) => ({ ...value, description: 'x' }), {
      quiet: true,
    });
    expect([quiet.revision, quiet.eventSeq]).toEqual([3, 1]);
    const same = await ground.zones.modify('z1', () => undefined);
    expect(same.revision).toBe(3);
    expect(await pendingOf(ground)).toHaveLength(1);
  });

  test('of an id that was removed before goes on counting, and ends with the right etag', async () => {
    await using ground = await openGround();
    await ground.zones.insert('z1', { owner: 'acme', description: 'one' });
    await ground.zones.remove('z1');
    const again = await ground.zones.insert('z1', { owner: 'acme', description: 'again' });
    const events = await pendingOf(ground);
    expect(events.map(({ seq }) => seq)).toEqual([1, 2, 3, 4]);
    expect(events.at(-1)?.payload.change.new).toEqual(zoneEntity.message.toJSON(ground.zones.message(again)));
  });

  test('under a stale revision, of nothing, or to another owner is refused', async () => {
    await using ground = await openGround();
    const { zones } = ground;
    await zones.insert('z1', { owner: 'acme', description: 'one' });
    await expect(zones.modify('z1', (value) => ({ ...value }), { expected: 9 })).rejects.toThrow(Conflict);
    await expect(zones.remove('z1', { expected: 9 })).rejects.toThrow(Conflict);
    await expect(zones.remove('z2')).rejects.toThrow(NotFound);
    await expect(
      zones.modify('z1', (value) => ({ ...value, owner: 'other', description: '2' })),
    ).rejects.toThrow(Internal);
    expect(await pendingOf(ground)).toHaveLength(1);
    expect(() => defineEntity({ ...zoneEntity, entity: 'Bad.Word' })).toThrow(Invalid);
  });

  test('from many sides at once keeps every event, in order and dense', async () => {
    await using ground = await openGround();
    await ground.zones.insert('z1', { owner: 'acme', description: '0' });
    const add = () =>
      ground.zones.modify('z1', (value) => ({
        ...value,
        description: String(Number(value.description) + 1),
      }));
    const results = await Promise.allSettled(Array.from({ length: 20 }, add));
    const done = results.filter(({ status }) => status === 'fulfilled').length;
    const events = await pendingOf(ground);
    expect(events.map(({ seq }) => seq)).toEqual(Array.from({ length: done + 1 }, (_, at) => at + 1));
    expect(events.at(-1)?.payload.change.new).toMatchObject({ description: String(done) });
  });
});

test('events that pile up become one from the oldest state to the newest', async () => {
  await using ground = await openGround();
  await ground.zones.insert('z1', { owner: 'acme', description: '0' });
  for (let at = 1; at <= 100; at += 1) {
    await ground.zones.modify('z1', (value) => ({ ...value, description: String(at) }));
  }
  const events = await pendingOf(ground);
  expect(events.length).toBeLessThan(64);
  expect(events[0]).toMatchObject({ firstSeq: 1, payload: { verb: 'created' } });
  expect(events[0]?.payload.change.old).toBeUndefined();
  expect(events.at(-1)).toMatchObject({ seq: 101, payload: { change: { new: { description: '100' } } } });

  await ground.zones.remove('z1');
  const [document] = await ground.store.outbox.pending({ limit: 1 });
  const gone = payloadOf(collapseEvents(document?.events ?? []));
  expect(gone).toMatchObject({ verb: 'deleted', change: {} });
});

test('a payload that is read back from its text tells the same', () => {
  const address = { entity: 'zone', uid: 'a,"change":{', owner: '"acme"', zone: '' };
  const head = {
    tree: 'entities',
    address,
    verb: 'updated',
    source: '/nephos/test',
    name: 'zones/a',
    schema: 'x.Y',
  };
  const pending = { seq: 7, firstSeq: 5, at: '2026-01-02T03:04:05.678Z' };
  const [old, now] = [{ description: 'ü "old"' }, { description: ',"change":{' }];
  const changes = [
    { new: now, changedPaths: ['description'] },
    { new: now, old, changedPaths: ['description'] },
    { old, changedPaths: ['description'] },
  ];
  for (const change of changes) {
    const payload = { ...head, change } as EventPayload;
    const written = EncodedPayload.of(payload);
    expect(JSON.parse(written.text)).toEqual(payload);
    const read = payloadOf(EncodedPayload.read(written.text));
    expect(read.change).toEqual(change);
    expect(isRemoval(read)).toBe(!change.new);
    expect(encodeEvent(read, pending)).toBe(encodeEvent(payload, pending));
    expect(JSON.parse(encodeEvent(read, pending))).toMatchObject({
      id: 'zone/a,"change":{/7',
      data: { ...change, collapsedFromSequence: '5' },
    });
  }
});
