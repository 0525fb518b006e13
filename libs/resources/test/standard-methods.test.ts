/** The standard methods over a real SQLite store, and what of a request its record keeps. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { defineEntity, type EntityCollection, openEntity } from '@nephos/events';
import { openIdempotency, type Remembering } from '@nephos/idempotency';
import { type Volume, VolumeServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/volume';
import { Zone, ZoneServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/zone';
import {
  type Call,
  type HeaderRecord,
  headerMessage,
  newUid,
  Precondition,
  systemClock,
  Unavailable,
} from '@nephos/service';
import { type Collection, defineCollection, type Json, openStore, type Store } from '@nephos/store';
import { type StandardResource, standardMethods } from '../src/index.ts';

interface ZoneRecord extends Remembering {
  readonly header: HeaderRecord;
  readonly description: string;
}

const zoneEntity = defineEntity<ZoneRecord, Zone>({
  entity: 'zone',
  collection: 'zones',
  message: Zone,
  store: defineCollection<ZoneRecord>({
    name: 'zones',
    schemaVersion: 1,
    indexes: { display_name: { fields: ['header.owner', 'header.displayName'], unique: true } },
  }),
  toMessage: ({ value, eventSeq }) => ({
    header: headerMessage('zones', value.header, eventSeq),
    description: value.description,
  }),
  place: ({ header }) => header,
});

let folder = '';
let store: Store;
/** What idempotency keeps of requests. */
let requests: Collection<Json> | undefined;
let zones: EntityCollection<ZoneRecord, Zone>;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nephos-resources-'));
  store = await openStore({ url: `sqlite://${folder}/zones.db`, clock: systemClock });
  zones = await openEntity(store, zoneEntity, { source: 'test', clock: systemClock });
});
afterEach(async () => {
  await store[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

const call = (requestId: string = newUid()): Call =>
  ({ principal: 'ann', onBehalfOf: undefined, requestId, detach: () => undefined }) as unknown as Call;

type Resource = StandardResource<typeof ZoneServiceDefinition, 'Zone', ZoneRecord>;

/** One instance of a service that keeps zones. */
async function openInstance(resource: Partial<Resource> = {}) {
  const collection: Store['collection'] = async (definition) => {
    const opened = await store.collection(definition);
    requests = opened as unknown as Collection<Json>;
    return opened;
  };
  const shared = { collection, exclusive: false } as Store;
  const idempotency = await openIdempotency(shared, { clock: systemClock, graceMs: 0 });
  const methods = standardMethods(
    {
      contract: ZoneServiceDefinition,
      kind: 'Zone',
      entity: zones,
      changeable: ['description'],
      build: ({ description }, header) => ({ header, description }),
      change: (record, { description }) => ({ ...record, description }),
      ...resource,
    },
    { idempotency, clock: systemClock },
  );
  return { ...methods, idempotency };
}

const zoneOf = (displayName: string, description = ''): Zone =>
  Zone.fromPartial({ header: { displayName, owner: 'ops' }, description });

async function requestRecords(): Promise<string> {
  return JSON.stringify((await requests?.find({ limit: 100 }))?.items);
}

test('a zone is made, read, listed, changed and deleted, each once a request', async () => {
  const service = await openInstance();
  const [creation, change, removal] = [call(), call(), call()];
  const made = await service.createZone({ zone: zoneOf('east') }, creation);
  expect(await service.createZone({ zone: zoneOf('east') }, creation)).toEqual(made);
  const name = made.header?.name ?? '';
  expect(await service.getZone({ name }, call())).toEqual(made);
  const page = { filter: 'display_name = "east"', pageSize: 10, pageToken: '' };
  expect(await service.listZones(page, call())).toEqual({ zones: [made], nextPageToken: '' });
  const zone = Zone.fromPartial({ header: { name, etag: made.header?.etag ?? '' }, description: 'new' });
  const update = { zone, updateMask: ['description'] };
  const changed = await service.updateZone(update, change);
  expect(changed).toMatchObject({ description: 'new', header: { displayName: 'east' } });
  expect(await service.updateZone(update, change)).toEqual(changed);
  await expect(service.updateZone(update, call())).rejects.toMatchObject({ reason: 'ETAG_MISMATCH' });
  expect(await service.deleteZone({ name, etag: '' }, removal)).toEqual({});
  expect(await service.deleteZone({ name, etag: '' }, removal)).toEqual({});
  await expect(service.getZone({ name }, call())).rejects.toMatchObject({ kind: 'not-found' });
  await expect(service.createZone({ zone: zoneOf('east') }, creation)).rejects.toMatchObject({
    kind: 'not-found',
  });
});

test('violations name fields as the request has them; a name taken is told as such', async () => {
  const service = await openInstance();
  await expect(service.createZone({ zone: undefined }, call())).rejects.toMatchObject({
    reason: 'FIELD_REQUIRED',
    details: { fields: [{ field: 'zone.header' }] },
  });
  await expect(service.createZone({ zone: zoneOf(' x') }, call())).rejects.toMatchObject({
    details: { fields: [{ field: 'zone.header.display_name' }] },
  });
  await service.createZone({ zone: zoneOf('east') }, call());
  const west = await service.createZone({ zone: zoneOf('west') }, call());
  const taken = { reason: 'DISPLAY_NAME_TAKEN', details: { metadata: { display_name: 'east' } } };
  await expect(service.createZone({ zone: zoneOf('east') }, call())).rejects.toMatchObject(taken);
  const zone = Zone.fromPartial({ header: { name: west.header?.name ?? '', displayName: 'east' } });
  const update = service.updateZone({ zone, updateMask: ['header.display_name'] }, call());
  await expect(update).rejects.toMatchObject(taken);
});

test('what is used stays, and what a refused deletion began is taken back', async () => {
  const takenBack: string[] = [];
  const service = await openInstance({
    usedBy: (uid) => Promise.resolve(takenBack.length === 0 ? `pod ${uid}` : undefined),
    notRemoved: async (uid) => void takenBack.push(uid),
  });
  const { header } = await service.createZone({ zone: zoneOf('east') }, call());
  const name = header?.name ?? '';
  await expect(service.deleteZone({ name, etag: '' }, call())).rejects.toMatchObject({
    reason: 'RESOURCE_IN_USE',
  });
  expect(takenBack).toEqual([]);
  expect((await service.getZone({ name }, call())).header?.name).toBe(name);
});

test('the contract says which of the five there are; some may be the own of a service', async () => {
  const idempotency = await openIdempotency(store, { clock: systemClock });
  const parts = { idempotency, clock: systemClock };
  const volumes = zones as unknown as EntityCollection<ZoneRecord, Volume>;
  const read = standardMethods({ contract: VolumeServiceDefinition, kind: 'Volume', entity: volumes }, parts);
  expect(Object.keys(read).sort()).toEqual(['getVolume', 'listVolumes']);
  const zone = { contract: ZoneServiceDefinition, kind: 'Zone', entity: zones } as const;
  const some = standardMethods({ ...zone, own: ['createZone', 'deleteZone'] }, parts);
  expect(Object.keys(some).sort()).toEqual(['getZone', 'listZones', 'updateZone']);
  expect(() => standardMethods(zone, parts)).toThrow(/nothing says what makes the record/);
  const pods = zones as unknown as EntityCollection<ZoneRecord, never>;
  const pod = { ...zone, kind: 'Pod', entity: pods } as const;
  expect(() => standardMethods(pod, parts)).toThrow(/has no Pod/);
});

/** The description is what only the record may hold. */
const sealed: Partial<Resource> = {
  build: (_message, header) => ({ header, description: '' }),
  complete: (record, request) => {
    if (request === undefined) throw new Precondition('STATE_FORBIDS', 'nobody asks');
    return { ...record, description: request.zone?.description ?? '' };
  },
};

test('what must not be kept with the request is in the record alone', async () => {
  const service = await openInstance(sealed);
  const creation = call();
  const made = await service.createZone({ zone: zoneOf('east', 'whisper') }, creation);
  expect(made.description).toBe('whisper');
  expect(await service.createZone({ zone: zoneOf('east', 'whisper') }, creation)).toEqual(made);
  expect(await requestRecords()).toContain(creation.requestId);
  expect(await requestRecords()).not.toContain('whisper');
});

test('where a crash came before the record, a repeat finishes it; a sweep forgets it, and a repeat begins anew', async () => {
  const crash = { on: true };
  const insert: typeof zones.insert = async (id, value, options) => {
    if (crash.on) throw new Unavailable('SERVICE_UNAVAILABLE', 'as if the process died here');
    return await zones.insert(id, value, options);
  };
  const entity = Object.assign(Object.create(zones) as typeof zones, { insert });
  const first = await openInstance({ ...sealed, entity });
  const [repeated, swept] = [call(), call()];
  const create = (name: string, asked: Call, service = first) =>
    service.createZone({ zone: zoneOf(name, 'whisper') }, asked);
  await expect(create('east', repeated)).rejects.toMatchObject({ kind: 'unavailable' });
  await expect(create('west', swept)).rejects.toMatchObject({ kind: 'unavailable' });
  expect(await requestRecords()).not.toContain('whisper');
  crash.on = false;
  const second = await openInstance(sealed);
  expect((await create('east', repeated, second)).description).toBe('whisper');
  await second.idempotency.sweep();
  expect(await requestRecords()).not.toContain(swept.requestId);
  expect(await zones.count()).toBe(1);
  expect((await create('west', swept, second)).description).toBe('whisper');
  expect(await zones.count()).toBe(2);
});
