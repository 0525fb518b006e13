/**
 * Every kind of resource that the contracts declare: its changes are made to happen on a real platform, and each must be
 * told, with the state before and after and what differs. A kind without a case fails, and so does an event that its
 * served schema, or CloudEvents' own, does not allow.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { changedPaths, type JsonObject } from '@nephos/events';
import { eventTypeOf, ownContracts } from '@nephos/schemas';
import { freePort, layGround, type Platform, startPlatform } from '@nephos/testing';
import { Ajv2020 } from 'ajv/dist/2020.js';
import ajvFormats from 'ajv-formats';
import { CloudEvent } from 'cloudevents';
// The specification's own JSON schema, as the CloudEvents SDK carries it (Apache-2.0).
import isOfficial from 'cloudevents/dist/schema/v1.js';
import { cases, type World } from './support/resource-cases.ts';
import { type Json, listen, type Told } from './support/told.ts';

const resources = ownContracts().resources();
const stack = new AsyncDisposableStack();
let platform: Platform;
let world: World;
let served: string;

beforeAll(async () => {
  served = `http://127.0.0.1:${await freePort()}`;
  const env = { NEPHOS_SCHEMA_BASE: served, NEPHOS_EVENTS_HTTP_BIND: new URL(served).host };
  platform = stack.use(await startPlatform({ env }));
  const listener = stack.use(await listen(platform));
  world = { platform, listener, ground: await layGround(platform) };
});

afterAll(async () => stack.disposeAsync());

test('each kind of resource has a case here, and each case a kind', () => {
  expect(Object.keys(cases).toSorted()).toEqual(resources.map(({ entity }) => entity));
});

describe('what happens is told', () => {
  test.each(resources)('$entity', async ({ entity }) => {
    const happened = await cases[entity]?.(world);
    if (!happened) throw new Error(`nobody knows how a ${entity} changes`);
    const { name, first = 'created', changed, removed } = happened;
    const events = await world.listener.of(
      name,
      (own) => isTold(own, changed) && (!removed || own.at(-1)?.new === undefined),
    );
    expect(events.every((event) => event.entity === entity)).toBe(true);
    expect(events[0]).toMatchObject({ verb: first, sequence: 1, new: { header: { name } } });
    expect(events[0]?.old).toBeUndefined();
    if (removed) expect(events.at(-1)).toMatchObject({ verb: 'deleted', old: { header: { name } } });
    events.forEach((event, at) => isSound(event, events[at - 1]));
  });
});

function isTold(events: readonly Told[], changed: string): boolean {
  const isOf = (path: string): boolean => path === changed || path.startsWith(`${changed}.`);
  return events.some(({ old, changedPaths: paths }) => old !== undefined && paths.some(isOf));
}

/** One after the other, each beginning where the one before ended, naming exactly what differs. */
function isSound(event: Told, before: Told | undefined): void {
  const { old, new: now, sequence } = event;
  if (before) {
    expect(sequence).toBe(before.sequence + 1);
    // A write that changes nothing else is no event.
    const quiet = changedPaths(before.new as JsonObject | undefined, old as JsonObject | undefined);
    expect(quiet.filter((path) => path !== 'header.updateTime' && path !== 'header.etag')).toEqual([]);
  }
  expect(event.changedPaths).toEqual(
    changedPaths(old as JsonObject | undefined, now as JsonObject | undefined),
  );
  expect(event.changedPaths).not.toEqual([]);
}

describe('every event of the run', () => {
  const loaded = new Map<string, Json>();
  const ajv = ajvFormats.default(new Ajv2020({ strict: false, allErrors: true }));

  async function validator(uri: string) {
    if (!loaded.has(uri)) {
      const schema = (await (await fetch(uri)).json()) as Json;
      loaded.set(uri, schema);
      expect(schema['$id']).toBe(uri);
      ajv.addSchema(schema);
    }
    const validate = ajv.getSchema(uri);
    if (!validate) throw new Error(`${uri} is no schema`);
    return validate;
  }

  test('says where its schema is served, and is valid by it; damaged it is not', async () => {
    const { told } = world.listener;
    expect(new Set(told.map(({ entity }) => entity))).toEqual(new Set(resources.map(({ entity }) => entity)));
    for (const { cloudEvent } of told) {
      const uri = String(cloudEvent['dataschema']);
      const validData = await validator(uri);
      const validWhole = await validator(`${served}/schemas/${String(cloudEvent['type'])}.json`);
      await validData(cloudEvent['data']);
      expect([cloudEvent['id'], validData.errors]).toEqual([cloudEvent['id'], null]);
      await validWhole(cloudEvent);
      expect([cloudEvent['id'], validWhole.errors]).toEqual([cloudEvent['id'], null]);
      const { changedPaths: paths } = cloudEvent['data'] as Json;
      const damaged = [
        { ...cloudEvent, data: { changedPaths: paths, new: { header: { name: 5 } } } },
        { ...cloudEvent, data: { changedPaths: 'all' } },
        { ...cloudEvent, sequence: 7 },
        { ...cloudEvent, time: 'today' },
        { ...cloudEvent, subject: undefined },
      ];
      for (const each of damaged) expect(validWhole(each)).toBe(false);
    }
  });

  test('is a CloudEvent by the official schema; damaged it is not', () => {
    for (const { cloudEvent } of world.listener.told) {
      expect([cloudEvent['id'], isOfficial(cloudEvent)]).toEqual([cloudEvent['id'], true]);
      expect(new CloudEvent(cloudEvent as never, true).validate()).toBe(true);
      const { source: _, ...sourceless } = cloudEvent;
      const damaged = [
        sourceless,
        { ...cloudEvent, id: '' },
        { ...cloudEvent, time: 'today' },
        { ...cloudEvent, dataschema: 5 },
      ];
      expect(damaged.map((each) => isOfficial(each))).toEqual(damaged.map(() => false));
    }
  });

  test('has a type that the contracts declare', () => {
    const declared = new Set(
      resources.flatMap((resource) => resource.verbs.map((verb) => eventTypeOf(resource, verb))),
    );
    const seen = new Set(world.listener.told.map(({ cloudEvent }) => String(cloudEvent['type'])));
    expect([...seen].filter((type) => !declared.has(type))).toEqual([]);
  });
});
