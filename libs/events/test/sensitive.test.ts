// A field marked sensitive reaches neither an event nor the outbox, wherever in the message it is.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { descriptorsPath } from '@nephos/proto/descriptors';
import { Internal, systemClock } from '@nephos/service';
import { defineEntity, type JsonObject, openEntity } from '../src/index.ts';
import { redactorOf } from '../src/sensitive.ts';
import { openGround } from './harness.ts';

const secret = 'HUSH';
const key = (label: string) => ({ label, secretPart: secret });
const vault: JsonObject = {
  title: 'open',
  password: secret,
  mainKey: key('main'),
  otherKeys: [key('one'), key('two')],
  keysByName: { password: key('named password'), plain: key('named') },
  passPhrase: secret,
  recoveryCodes: [secret],
  inner: { title: 'inner', password: secret, inner: { mainKey: key('deep') } },
  tags: { password: 'a tag of that name' },
};
const redacted: JsonObject = {
  title: 'open',
  mainKey: { label: 'main' },
  otherKeys: [{ label: 'one' }, { label: 'two' }],
  keysByName: { password: { label: 'named password' }, plain: { label: 'named' } },
  inner: { title: 'inner', inner: { mainKey: { label: 'deep' } } },
  tags: { password: 'a tag of that name' },
};

let folder: string;
let descriptors: Uint8Array;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nephos-sensitive-'));
  const image = join(folder, 'descriptors.binpb');
  const buf = join(dirname(createRequire(import.meta.url).resolve('@bufbuild/buf/package.json')), 'bin/buf');
  const protos = dirname(dirname(descriptorsPath));
  const workspace = join(folder, 'proto');
  execFileSync('cp', [
    '-r',
    join(protos, 'nephos/common'),
    join(import.meta.dirname, 'sensitive.proto'),
    folder,
  ]);
  execFileSync('mkdir', ['-p', join(workspace, 'nephos')]);
  execFileSync('mv', [join(folder, 'common'), join(workspace, 'nephos/common')]);
  execFileSync('mv', [join(folder, 'sensitive.proto'), workspace]);
  execFileSync(process.execPath, [buf, 'build', workspace, '-o', image]);
  descriptors = readFileSync(image);
});

afterAll(() => rmSync(folder, { recursive: true }));

test('sensitive fields are left out at every depth, in lists, maps and oneofs', () => {
  expect(redactorOf('nephos.eventstest.Vault', descriptors)(vault)).toEqual(redacted);
});

test('a message that can hold none passes untouched, one that nobody knows is refused', () => {
  const zone = { description: 'x' };
  expect(redactorOf('nephos.orchestration.v1.Zone')(zone)).toBe(zone);
  expect(() => redactorOf('nephos.eventstest.Unknown', descriptors)).toThrow(Internal);
});

test('no secret gets into the outbox, and a change of secrets alone is no event', async () => {
  await using ground = await openGround();
  const vaults = await openEntity(
    ground.store,
    defineEntity<JsonObject, JsonObject>({
      entity: 'vault',
      collection: 'vaults',
      message: { $type: 'nephos.eventstest.Vault', toJSON: (message) => message },
      store: { name: 'vaults', schemaVersion: 1, indexes: {} },
      toMessage: ({ value }) => value,
      place: () => ({ owner: 'acme', zone: '' }),
    }),
    { source: 'test', clock: systemClock, descriptors },
  );
  await vaults.insert('v1', vault);
  await vaults.modify('v1', (value) => ({ ...value, password: `${secret}2` }));
  await vaults.modify('v1', (value) => ({ ...value, title: 'shut' }));
  await vaults.remove('v1');
  const [document] = await ground.store.outbox.pending({ limit: 10 });
  expect(document?.events.map(({ seq }) => seq)).toEqual([1, 2, 3]);
  const text = JSON.stringify(document);
  expect(text).toContain('named password');
  expect(text).not.toContain(secret);
});
