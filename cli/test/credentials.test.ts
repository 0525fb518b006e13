// `nephos credentials`: the secret lands in a file of its owner alone, works there, and ends when it is told to.
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { layGround, type Platform, startPlatform } from '@nephos/testing';
import { runLine, type Where } from './cli-run.ts';

let platform: Platform;
let where: Where;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'nephos-cli-'));
  platform = await startPlatform();
  await layGround(platform, 'east');
  const { nats, services } = platform;
  where = { directory: services.directory.address, nats: nats.url, natsCreds: nats.keys?.credsOf('test') };
});
afterAll(async () => {
  await platform[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

test('issued to a file, rotated, rewound, revoked', async () => {
  const out = path.join(folder, 'cmdb.creds');
  const issued = await runLine(where, `credentials issue cmdb --zone east --entity vm --out ${out}`);
  expect(issued).toMatchObject({ code: 0, stderr: expect.stringContaining(out) });
  const secret = await readFile(out, 'utf8');
  expect(secret).toContain('BEGIN USER NKEY SEED');
  expect((await stat(out)).mode & 0o777).toBe(0o600);
  expect(`${issued.stdout}${issued.stderr}`).not.toContain('SEED');

  const listed = await runLine(where, 'credentials list');
  expect(listed.stdout).toMatch(/cmdb +ACTIVE +zone=zones\/\S+ entity=vm +never +yes/);
  expect((await runLine(where, 'subscriptions list')).stdout).toMatch(/\nA[A-Z2-7]{55} +cmdb +/);
  expect((await runLine(where, `credentials rotate cmdb --out ${out}`)).code).toBe(0);
  expect(await readFile(out, 'utf8')).not.toBe(secret);
  expect((await runLine(where, 'credentials rewind cmdb --from now')).code).toBe(0);
  expect((await runLine(where, 'credentials revoke cmdb')).stdout).toMatch(/^revoked eventCredentials\//);
  const shown = await runLine(where, 'credentials show cmdb --json');
  expect(JSON.parse(shown.stdout)).toMatchObject({ state: 'STATE_REVOKED', settled: true });
});

test('what cannot be issued leaves no file; without --out the secret is the result', async () => {
  const out = path.join(folder, 'none.creds');
  const refused = await runLine(where, `credentials issue none --out ${out}`);
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('say that everything is meant') });
  expect((await readdir(folder)).filter((name) => name.startsWith('none'))).toEqual([]);
  const nowhere = path.join(folder, 'no', 'folder.creds');
  expect((await runLine(where, `credentials issue nowhere --owner x --out ${nowhere}`)).code).toBe(1);
  expect((await runLine(where, 'credentials list')).stdout).not.toContain('nowhere');
  const plain = await runLine(where, 'credentials issue plain --everything --expires 2999-01-01T00:00:00Z');
  expect(plain.stdout).toMatch(/^-----BEGIN NATS USER JWT-----/);
});
