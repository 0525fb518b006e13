/** Nobody takes another service's place: tokens of every wrong kind, and what a takeover would gain. */
import { once } from 'node:events';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Health } from '@nephos/directory';
import { type Issuer, openIssuer } from '@nephos/directory/identity';
import { type NatsServer, startNatsServer } from '@nephos/events/testing';
import { DirectoryServiceDefinition } from '@nephos/proto/nephos/directory/v1/directory_service';
import {
  createLog,
  newUid,
  openClients,
  type RunningService,
  startService,
  systemClock,
} from '@nephos/service';
import { base64url, exportJWK, generateKeyPair, SignJWT, UnsecuredJWT } from 'jose';
import { identityOf } from '../src/domain/identity.ts';
import { directory as directoryDefinition } from '../src/service.ts';
import { type Joined, listed, reached, Stack } from './stack.ts';

const hourMs = 3_600_000;
const audience = 'nephos-directory';

let stack: Stack;
let nats: NatsServer;
let issuer: Issuer;
let folder: string;
let directory: RunningService;
let orchestrator: Joined;
let caller: Joined;
const said: string[] = [];

function token(service: string, more: Partial<Parameters<Issuer['sign']>[0]> = {}): Promise<string> {
  return issuer.sign({ service, issuedAt: systemClock.now(), lifetimeMs: hourMs, ...more });
}

beforeAll(async () => {
  stack = new Stack();
  nats = stack.use(await startNatsServer());
  folder = await stack.folder();
  issuer = await openIssuer(folder);
  const write = (service: string) =>
    issuer.write({ service, issuedAt: systemClock.now(), lifetimeMs: hourMs });
  const to = { write: (line: string) => void said.push(line) };
  const log = createLog({
    service: 'directory',
    version: '1',
    instanceId: newUid(),
    level: 'info',
    to,
    secrets: [],
  });
  directory = await stack.directory(nats.url, { trust: issuer.trust, log });
  orchestrator = await stack.service('orchestrator', { identity: await write('orchestrator') });
  caller = await stack.service('caller', { identity: await write('caller') });
  await listed(caller.handle, 'orchestrator', (uids) => uids.length === 1);
});
afterAll(() => stack[Symbol.asyncDispose]());

/** Calls with exactly this token, or none. */
function as(bearer: string | undefined) {
  const { host, port } = directory.address;
  const clients = openClients('users/impostor');
  stack.use({ [Symbol.asyncDispose]: async () => clients[Symbol.dispose]() });
  const client = clients.of(DirectoryServiceDefinition, `${host}:${port}`);
  const options = bearer === undefined ? {} : { metadata: { authorization: `Bearer ${bearer}` } };
  return {
    register: (service = 'orchestrator', uid = newUid(), supersedes: string[] = []) =>
      client.registerInstance(
        {
          instance: { header: { uid }, service, address: '127.0.0.1:9', health: Health.SERVING },
          beat: 1_000_000n,
          supersedes,
        },
        options,
      ),
    renew: (uid: string) =>
      client.renewInstance({ name: `instances/${uid}`, beat: 1_000_000n, health: Health.DRAINING }, options),
    deregister: (uid: string) =>
      client.deregisterInstance({ name: `instances/${uid}`, beat: 1_000_000n }, options),
    list: () => client.listInstances({}, options),
  };
}

const unknown = { kind: 'unauthenticated', reason: 'IDENTITY_UNKNOWN' };
const denied = { kind: 'denied', reason: 'PERMISSION_DENIED' };

describe('no proof', () => {
  const parts = (jwt: string) => jwt.split('.');
  const kinds: Record<string, () => Promise<string | undefined>> = {
    'no token': async () => undefined,
    'an expired one': () =>
      token('orchestrator', { issuedAt: new Date(systemClock.now().getTime() - 2 * hourMs) }),
    'one for another audience': () => token('orchestrator', { audience: 'somebody-else' }),
    'one signed by a stranger, under the key id that is trusted': async () => {
      const { kid } = JSON.parse(await readFile(issuer.trust, 'utf8')).keys[0];
      const { privateKey } = await generateKeyPair('EdDSA');
      return await new SignJWT({})
        .setProtectedHeader({ alg: 'EdDSA', kid })
        .setSubject('orchestrator')
        .setAudience(audience)
        .setExpirationTime('1h')
        .sign(privateKey);
    },
    'one without a signature (alg none)': async () =>
      new UnsecuredJWT({}).setSubject('orchestrator').setAudience(audience).setExpirationTime('1h').encode(),
    'one that takes the public key for a shared secret (HS256)': async () => {
      const { keys } = JSON.parse(await readFile(issuer.trust, 'utf8'));
      return await new SignJWT({})
        .setProtectedHeader({ alg: 'HS256', kid: keys[0].kid })
        .setSubject('orchestrator')
        .setAudience(audience)
        .setExpirationTime('1h')
        .sign(base64url.decode(keys[0].x));
    },
    'one whose claims were changed': async () => {
      const [header, body, signature] = parts(await token('caller'));
      const claims = JSON.parse(Buffer.from(body ?? '', 'base64url').toString());
      const forged = base64url.encode(JSON.stringify({ ...claims, sub: 'orchestrator' }));
      return `${header}.${forged}.${signature}`;
    },
    'one that never expires': async () => {
      const key = JSON.parse(await readFile(path.join(folder, 'issuer.key.json'), 'utf8'));
      const { importJWK } = await import('jose');
      return await new SignJWT({})
        .setProtectedHeader({ alg: 'EdDSA', kid: key.kid })
        .setSubject('orchestrator')
        .setAudience(audience)
        .sign(await importJWK(key.key, 'EdDSA'));
    },
    'no token at all but a word': async () => 'orchestrator',
  };
  for (const [kind, make] of Object.entries(kinds)) {
    test(`${kind} registers, renews and deregisters nothing`, async () => {
      const impostor = as(await make());
      await expect(impostor.register()).rejects.toMatchObject(unknown);
      await expect(impostor.renew(orchestrator.id)).rejects.toMatchObject(unknown);
      await expect(impostor.deregister(orchestrator.id)).rejects.toMatchObject(unknown);
      expect((await impostor.list()).instances.length).toBeGreaterThan(1);
    });
  }

  test('the refusal says what to do, and the log who tried', async () => {
    await expect(as(undefined).register()).rejects.toThrow('NEPHOS_IDENTITY');
    const refusal = said.map((line) => JSON.parse(line)).findLast(({ msg }) => msg === 'refused');
    expect(refusal).toMatchObject({ call: 'register', reason: 'IDENTITY_UNKNOWN', service: 'orchestrator' });
    expect(said.join()).not.toContain('eyJ');
  });
});

describe("another service's token", () => {
  test('is worth nothing for this one, at any call, under any uid', async () => {
    const impostor = as(await token('caller'));
    await expect(impostor.register('orchestrator')).rejects.toMatchObject(denied);
    await expect(impostor.register('orchestrator', orchestrator.id)).rejects.toMatchObject(denied);
    await expect(impostor.renew(orchestrator.id)).rejects.toMatchObject(denied);
    await expect(impostor.deregister(orchestrator.id)).rejects.toMatchObject(denied);
  });

  test('does not turn an instance into one of its own service', async () => {
    const impostor = as(await token('caller'));
    await expect(impostor.register('caller', orchestrator.id)).rejects.toMatchObject(denied);
  });

  test('supersedes nobody but its own', async () => {
    const uid = newUid();
    await as(await token('caller')).register('caller', uid, [orchestrator.id]);
    expect(await reached(caller, 'orchestrator')).toBe(orchestrator.id);
    await as(await token('caller')).deregister(uid);
  });
});

test('a token of one instance is worth nothing for another', async () => {
  const uid = newUid();
  const own = as(await token('single', { instance: uid }));
  await own.register('single', uid);
  await own.renew(uid);
  await expect(own.register('single')).rejects.toMatchObject(denied);
  const other = as(await token('single', { instance: newUid() }));
  await expect(other.renew(uid)).rejects.toMatchObject(denied);
  await expect(other.deregister(uid)).rejects.toMatchObject(denied);
  await own.deregister(uid);
});

test("callers never get an impostor's address, whatever it tries", async () => {
  const seen = new Set<string>();
  const watching = new AbortController();
  const watched = (async () => {
    for await (const instances of caller.handle.watch('orchestrator')) {
      for (const { address } of instances) seen.add(address);
      if (watching.signal.aborted) return;
    }
  })();
  const tries = [undefined, await token('caller'), await token('orchestrator', { audience: 'x' })];
  const refused = { reason: expect.stringMatching(/^(IDENTITY_UNKNOWN|PERMISSION_DENIED)$/) };
  for (const bearer of tries) {
    const impostor = as(bearer);
    await expect(impostor.register('orchestrator', orchestrator.id)).rejects.toMatchObject(refused);
    await expect(impostor.register('orchestrator', newUid(), [orchestrator.id])).rejects.toMatchObject(
      refused,
    );
    await expect(impostor.deregister(orchestrator.id)).rejects.toMatchObject(refused);
    expect(await reached(caller, 'orchestrator')).toBe(orchestrator.id);
  }
  // A second true instance is the change that ends the watch.
  const identity = path.join(folder, 'orchestrator.jwt');
  const second = await stack.service('orchestrator', { identity });
  watching.abort();
  await listed(caller.handle, 'orchestrator', (uids) => uids.length === 2);
  await watched;
  await second.stop();
  expect(seen).not.toContain('127.0.0.1:9');
});

test('a token file that is swapped counts at the next renewal, for worse and for better', async () => {
  const file = path.join(await stack.folder(), 'token');
  await writeFile(file, await token('swapped'));
  const one = await stack.service('swapped', { identity: file });
  await listed(caller.handle, 'swapped', (uids) => uids.length === 1);
  await writeFile(file, await token('caller'));
  const refused = () => said.some((line) => line.includes('refused') && line.includes(one.id));
  while (!refused()) await systemClock.sleep(20);
  await writeFile(file, await token('swapped'));
  await listed(caller.handle, 'swapped', (uids) => uids.length === 1);
  await one.stop();
});

test('keys are read again: a new one is believed at once, one taken back no more', async () => {
  const second = await openIssuer(await stack.folder());
  const trust = path.join(await stack.folder(), 'jwks.json');
  const [old, fresh] = [await readFile(issuer.trust, 'utf8'), await readFile(second.trust, 'utf8')];
  await writeFile(trust, old);
  const other = new Stack();
  await using _other = other;
  directory = await other.directory(nats.url, { trust });
  const uid = newUid();
  await as(await token('rotated')).register('rotated', uid);
  await writeFile(trust, fresh);
  const signed = await second.sign({ service: 'rotated', issuedAt: systemClock.now(), lifetimeMs: hourMs });
  const believed = () =>
    as(signed)
      .renew(uid)
      .then(
        () => true,
        () => false,
      );
  while (!(await believed())) await systemClock.sleep(50);
  await expect(as(await token('rotated')).renew(uid)).rejects.toMatchObject(unknown);
});

test('keys at a URL, and a Kubernetes service account as its API server signs it (RS256)', async () => {
  const { publicKey, privateKey } = await generateKeyPair('RS256');
  const keys = { keys: [{ ...(await exportJWK(publicKey)), kid: 'cluster', alg: 'RS256', use: 'sig' }] };
  const server = createServer((_request, response) => response.end(JSON.stringify(keys))).listen(
    0,
    '127.0.0.1',
  );
  await once(server, 'listening');
  stack.use({ [Symbol.asyncDispose]: async () => void server.close() });
  const projected = (sub: string) =>
    new SignJWT({ 'kubernetes.io': { namespace: 'nephos', pod: { name: 'p', uid: newUid() } } })
      .setProtectedHeader({ alg: 'RS256', kid: 'cluster' })
      .setIssuer('https://kubernetes.default.svc.cluster.local')
      .setSubject(sub)
      .setAudience([audience])
      .setExpirationTime('1h')
      .sign(privateKey);
  const other = new Stack();
  await using _other = other;
  const trust = `http://127.0.0.1:${(server.address() as AddressInfo).port}/openid/v1/jwks`;
  directory = await other.directory(nats.url, { trust });
  await as(await projected('system:serviceaccount:nephos:nephos-template')).register('template');
  await as(await projected('system:serviceaccount:nephos:template')).register('template');
  const stranger = as(await projected('system:serviceaccount:tenant-7:template'));
  await expect(stranger.register('template')).rejects.toMatchObject(unknown);
  const sibling = as(await projected('system:serviceaccount:nephos:events'));
  await expect(sibling.register('template')).rejects.toMatchObject(denied);
});

test('subjects that are names of services, and those that are not', () => {
  const of = (sub: string) => identityOf({ sub }, 'nephos')?.service;
  expect(of('host-agent')).toBe('host-agent');
  expect(of('system:serviceaccount:nephos:host-agent')).toBe('host-agent');
  expect(of('system:serviceaccount:nephos-2:host-agent')).toBeUndefined();
  expect(of('system:serviceaccount:nephos:x:y')).toBeUndefined();
  expect(of('users/alice')).toBeUndefined();
  expect(of('')).toBeUndefined();
});

test('without keys only loopback is served', async () => {
  const env = { NEPHOS_NATS: nats.url, NEPHOS_BIND: '0.0.0.0:0', NEPHOS_LOG_LEVEL: 'silent' };
  await expect(startService(directoryDefinition, { env })).rejects.toThrow('NEPHOS_DIRECTORY_TRUST');
});

test("keys and tokens are their owner's alone", async () => {
  for (const file of ['issuer.key.json', 'orchestrator.jwt'])
    expect((await stat(path.join(folder, file))).mode & 0o777).toBe(0o600);
});
