import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { expect, test } from '@jest/globals';
import { type EventPayload, encodeEvent, type JsonObject } from '@nephos/events';
import { Ajv } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import ajvFormats from 'ajv-formats';
import {
  asyncApiDocument,
  checkEntityWord,
  eventTypeOf,
  ownContracts,
  type ResourceType,
  schemaDocuments,
  withEventTable,
} from '../src/index.ts';
import { messageSchemas } from '../src/message-schema.ts';
import { filledJson } from './filled.ts';

const contracts = ownContracts();
const resources = contracts.resources();
const base = 'http://127.0.0.1:7408';
const strict = { strict: true, strictTypes: false, strictRequired: false, allErrors: true } as const;

/** A validator that was given every document, as a subscriber would. */
function validator(closed: boolean): Ajv2020 {
  const ajv = ajvFormats.default(new Ajv2020(strict));
  for (const schema of schemaDocuments(contracts, { base, closed }).values()) ajv.addSchema(schema);
  return ajv;
}

function event({ entity, collection, message }: ResourceType, verb: string, change: EventPayload['change']) {
  const payload: EventPayload = {
    tree: 'entities',
    address: { entity, uid: 'u1', owner: '', zone: '' },
    verb,
    source: '/nephos/test',
    name: `${collection}/u1`,
    schema: message,
    change,
  };
  const pending = { seq: 7, firstSeq: 3, at: '2026-11-23T05:00:00.000Z' };
  return JSON.parse(encodeEvent(payload, pending, { schemaBase: base, omitted: ['old'] })) as Record<
    string,
    unknown
  >;
}

test('the platform has its resources', () => {
  const entities = resources.map(({ entity }) => entity);
  expect(entities).toEqual(
    expect.arrayContaining(['cluster', 'host', 'instance', 'job', 'template', 'vm', 'volume', 'zone']),
  );
});

test('every field of every resource is in its schema, in the JSON that events carry', async () => {
  const ajv = validator(true);
  for (const resource of resources) {
    const type = contracts.message(resource.message);
    for (let variant = 0; variant < 8; variant += 1) {
      const state = withoutSensitive((await filledJson(type, variant)) as JsonObject, resource.message);
      const told = event(resource, 'updated', { new: state, old: state, changedPaths: ['header.etag'] });
      for (const id of [eventTypeOf(resource, 'updated'), `${resource.message}.change`, resource.message]) {
        const subject = id === resource.message ? state : id.endsWith('.change') ? told['data'] : told;
        void ajv.validate(`${base}/schemas/${id}.json`, subject);
        expect({ id, errors: ajv.errors }).toEqual({ id, errors: null });
      }
      expect(told['dataschema']).toBe(`${base}/schemas/${resource.message}.change.json`);
    }
  }
});

/** What the schema leaves out, the event does too: the fields marked in the contract. */
function withoutSensitive(state: JsonObject, message: string): JsonObject {
  const secret = contracts.message(message).fields.filter((field) => contracts.isSensitive(field));
  const names = new Set(secret.map(({ jsonName }) => jsonName));
  return Object.fromEntries(Object.entries(state).filter(([name]) => !names.has(name)));
}

const vm = resources.find(({ entity }) => entity === 'vm') as ResourceType;

test.each([
  ['a number for text', { new: { header: { name: 1 } }, changedPaths: [] }],
  ['a 64-bit integer as a number', { new: { spec: { memoryBytes: 5 } }, changedPaths: [] }],
  [
    'a word that is no value of the enum',
    { new: { spec: { desiredPower: 'POWER_HALF' } }, changedPaths: [] },
  ],
  ['a time that is none', { new: { header: { createTime: 'yesterday' } }, changedPaths: [] }],
  ['paths that are no list', { changedPaths: 'status' }],
])('damaged data is refused: %s', (_, change) => {
  const ajv = validator(false);
  expect(ajv.validate(`${base}/schemas/${vm.message}.change.json`, change)).toBe(false);
  expect(
    ajv.validate(`${base}/schemas/${eventTypeOf(vm, 'created')}.json`, event(vm, 'created', change as never)),
  ).toBe(false);
});

test.each(['id', 'type', 'source', 'subject', 'time', 'dataschema', 'sequence', 'data', 'specversion'])(
  'an envelope without %s is refused',
  (attribute) => {
    const ajv = validator(false);
    const whole = event(vm, 'created', { new: {}, changedPaths: [] });
    const schema = `${base}/schemas/${eventTypeOf(vm, 'created')}.json`;
    expect(ajv.validate(schema, whole)).toBe(true);
    const { [attribute]: _, ...damaged } = whole;
    expect(ajv.validate(schema, damaged)).toBe(false);
    expect(ajv.validate(`${base}/schemas/${eventTypeOf(vm, 'deleted')}.json`, whole)).toBe(false);
  },
);

test('fields of a newer platform pass', () => {
  const change = { new: { header: { name: 'vms/u1', later: 1 }, alsoLater: {} }, changedPaths: [] };
  expect(validator(false).validate(`${base}/schemas/${vm.message}.change.json`, change)).toBe(true);
  expect(validator(true).validate(`${base}/schemas/${vm.message}.change.json`, change)).toBe(false);
});

test('two members of a oneof are refused', () => {
  const source = messageSchemas(contracts, 'nephos.template.v1.TemplateSource', { refs: '#/$defs/' });
  const validate = new Ajv2020(strict).compile({
    ...source['nephos.template.v1.TemplateSource'],
    $defs: source,
  });
  const judged = [{}, { builtIn: 'a' }, { localFile: 'b' }, { builtIn: 'a', localFile: 'b' }].map((each) =>
    validate(each),
  );
  expect(judged).toEqual([true, true, true, false]);
});

test('sensitive fields are in no document, comments are', () => {
  const documents = [...schemaDocuments(contracts, { base: '' }).values()];
  const asyncApi = asyncApiDocument(contracts, { version: '1', base });
  for (const { message } of resources) {
    const own = documents.find(({ $id }) => $id === `urn:nephos:schema:${message}`) as never;
    const shown = (own as { $defs: Record<string, { properties: object }> }).$defs[message]?.properties ?? {};
    const secret = contracts.message(message).fields.filter((field) => contracts.isSensitive(field));
    for (const { jsonName } of secret) expect(shown).not.toHaveProperty(jsonName);
  }
  expect(JSON.stringify(documents)).toContain(
    'Short pairs to select by. Keys and values at most 63 characters',
  );
  expect(JSON.stringify(asyncApi)).toContain('Whom it belongs to: opaque, immutable');
});

test('the AsyncAPI document is valid by the official schema, and a damaged one is not', () => {
  const require = createRequire(import.meta.url);
  const official = JSON.parse(
    readFileSync(require.resolve('@asyncapi/specs/schemas/3.0.0-without-$id.json'), 'utf8'),
  ) as object;
  const ajv = ajvFormats.default(new Ajv({ strict: false, allErrors: false }));
  const validate = ajv.compile(official);
  const document = asyncApiDocument(contracts, { version: '0.1.0', base });
  void validate(document);
  expect(validate.errors).toBeNull();
  expect(validate({ ...document, channels: { vm: { address: 5 } } })).toBe(false);
  expect(
    validate({ ...document, operations: { x: { action: 'shout', channel: { $ref: '#/channels/vm' } } } }),
  ).toBe(false);
});

test('every reference of the AsyncAPI document leads somewhere, every resource has a channel and each verb a message', () => {
  const document = asyncApiDocument(contracts, { version: '0.1.0', base });
  const text = JSON.stringify(document);
  const resolve = (ref: string) =>
    ref
      .slice(2)
      .split('/')
      .reduce<unknown>((inner, key) => (inner as Record<string, unknown> | undefined)?.[key], document);
  const refs = [...new Set([...text.matchAll(/"\$ref":"([^"]+)"/g)].map(([, ref = '']) => ref))];
  expect(refs.length).toBeGreaterThan(50);
  for (const ref of refs) expect({ ref, found: resolve(ref) !== undefined }).toEqual({ ref, found: true });
  for (const resource of resources) {
    const channel = resolve(`#/channels/${resource.entity}`) as { address: string; messages: object };
    expect(Object.keys(channel.messages)).toEqual(resource.verbs.map((verb) => eventTypeOf(resource, verb)));
    expect(channel.address).toMatch(
      new RegExp(`^nephos(-jobs)?\\.v1\\.\\{owner\\}\\.\\{zone\\}\\.${resource.entity}\\.\\{id\\}$`),
    );
  }
});

test('the generated part of docs/events.md is current: else `pnpm asyncapi docs`', () => {
  const page = readFileSync(path.resolve(import.meta.dirname, '../../../docs/events.md'), 'utf8');
  expect(page).toBe(withEventTable(page, contracts));
  for (const { entity } of resources) expect(page).toContain(`| \`${entity}\` |`);
});

test('a word of the contracts needs no broker, another one does, and what is no word is never asked for', async () => {
  const away = { session: undefined };
  await checkEntityWord(away, 'vm', 'entity');
  await expect(checkEntityWord(away, 'bucket', 'entity')).rejects.toMatchObject({ kind: 'unavailable' });
  for (const word of ['', '>', '*', 'vm.>', 'VM'])
    await expect(checkEntityWord(away, word, 'entity')).rejects.toMatchObject({
      kind: 'invalid',
      details: { fields: [{ field: 'entity', description: expect.stringContaining('known: ') }] },
    });
});
