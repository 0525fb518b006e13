// Third parties' credentials over their life: issued once, rotated, rewound, revoked, expired; brought to the broker
// whatever was away when they were made or ended.
import { readdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { jetstreamManager } from '@nats-io/jetstream';
import { streams } from '@nephos/events';
import { startNatsServer } from '@nephos/events/testing';
import { EventCredential_State as State } from '@nephos/proto/nephos/events/v1/credential';
import { newUid, systemClock } from '@nephos/service';
import {
  attempt,
  type CredentialsWorld,
  enter,
  openCredentialsWorld,
  readAll,
} from './support/credentials-world.ts';

let world: CredentialsWorld;
beforeAll(async () => {
  world = await openCredentialsWorld();
});
afterAll(async () => await world[Symbol.asyncDispose]());

async function issue(slice: Record<string, unknown>, more: Record<string, unknown> = {}) {
  const { credential, creds } = await world.api().createEventCredential({
    credential: { header: { displayName: newUid() }, slice, ...more },
  });
  if (credential?.header === undefined) throw new Error('no credential came back');
  return { credential, creds, name: credential.header.name, account: credential.account };
}

async function settled(name: string, state: State) {
  for (;;) {
    const credential = await world.api().getEventCredential({ name });
    if (credential.settled && credential.state === state) return credential;
    await systemClock.sleep(50);
  }
}

describe('a slice', () => {
  test.each([
    [{}, /slice needs/],
    [{ owner: '*' }, /wildcard/],
    [{ owner: '>' }, /wildcard/],
    [{ zone: '*' }, /zone/],
    [{ zone: 'zones/*' }, /zone/],
    [{ entity: '*' }, /entity/],
    [{ entity: 'vm.>' }, /entity/],
    [{ entity: 'job' }, /no slice/],
    [{ owner: 'acme', everything: true }, /not both/],
  ])('%j is refused', async (slice, message) => {
    await expect(issue(slice)).rejects.toMatchObject({
      kind: 'invalid',
      message: expect.stringMatching(message),
    });
  });

  test('of an entity that is nothing here is refused, with the words there are; one of another service has events', async () => {
    await expect(issue({ entity: 'nosuch' })).rejects.toMatchObject({
      details: {
        fields: [
          {
            field: 'credential.slice.entity',
            description: expect.stringMatching(/known: .*\bvm\b.*, and any/),
          },
        ],
      },
    });
    await world.publish('acme', 'bucket', newUid(), 1);
    expect((await issue({ entity: 'bucket' })).creds).not.toBe('');
  });

  test('an owner of any text is cut exactly: dots and wildcards in it are letters', async () => {
    const odd = `a.*.>_ ${newUid()}`;
    const { creds, account } = await issue({ owner: odd });
    await world.publish(odd, 'vm', newUid(), 1);
    await world.publish('a', 'vm', newUid(), 1);
    await using third = await enter(world, creds);
    const seen = await readAll(third, account);
    expect(seen.map((message) => message.json<{ data: unknown }>().data)).toEqual([
      expect.objectContaining({ new: { owner: odd } }),
    ]);
  });
});

test('the secret is in the first answer alone: not in a repeat, the record, an event, the logs or the store', async () => {
  const request = {
    credential: { header: { displayName: newUid() }, slice: { owner: 'secretive' } },
  };
  const requestId = newUid();
  const first = await world.api().createEventCredential(request, { requestId });
  const again = await world.api().createEventCredential(request, { requestId });
  expect(first.creds).toContain('BEGIN USER NKEY SEED');
  expect(again.creds).toBe('');
  expect(again.credential?.header?.uid).toBe(first.credential?.header?.uid);
  const seed = /SU[A-Z2-7]{50,}/.exec(first.creds)?.[0] ?? 'none';
  const token = first.creds.split('\n')[1] ?? 'none';
  await world.stop();
  const files = await readdir(world.data, { recursive: true, withFileTypes: true });
  for (const file of files.filter((each) => each.isFile())) {
    const text = (await readFile(path.join(file.parentPath, file.name))).toString('latin1');
    expect([file.name, text.includes(seed), text.includes(token)]).toEqual([file.name, false, false]);
  }
  await world.start();
  const { jsm } = { jsm: await jetstreamManager(await world.inside()) };
  const { state } = await jsm.streams.info(streams.events);
  let events = 0;
  for (let seq = state.first_seq; seq <= state.last_seq; seq += 1) {
    const message = await jsm.streams.getMessage(streams.events, { seq });
    if (!message?.subject.includes('.event_credential.')) continue;
    events += 1;
    expect(message.string().includes(seed) || message.string().includes(token)).toBe(false);
  }
  expect(events).toBeGreaterThan(1);
});

test('rotated: the former secret is cut off at once, the position stays', async () => {
  const owner = newUid();
  const { creds, name, account } = await issue({ owner });
  await world.publish(owner, 'vm', 'one', 1);
  const first = await enter(world, creds);
  expect(await readAll(first, account)).toHaveLength(1);
  const requestId = newUid();
  const rotated = await world.api().rotateEventCredential({ name }, { requestId });
  await first.closed();
  expect(await attempt(world, creds)).toMatch(/Authorization/);
  expect((await world.api().rotateEventCredential({ name }, { requestId })).creds).toBe('');
  await world.publish(owner, 'vm', 'two', 1);
  await using second = await enter(world, rotated.creds);
  expect((await readAll(second, account)).map(({ subject }) => subject.split('.').at(-1))).toEqual(['two']);
});

test('rewound: from all, from now; the snapshot begins anew and leaves no gap to the events', async () => {
  const owner = newUid();
  const { creds, name, account } = await issue({ owner });
  for (const sequence of [1, 2, 3]) await world.publish(owner, 'vm', 'one', sequence);
  await using third = await enter(world, creds);
  expect(await readAll(third, account)).toHaveLength(3);
  await world.api().rewindEventCredential({ name, start: { from: { $case: 'all', value: true } } });
  expect(await readAll(third, account)).toHaveLength(3);
  await world.api().rewindEventCredential({ name, start: { from: { $case: 'now', value: true } } });
  const snapshot = await readAll(third, account, streams.state);
  expect(snapshot.map((message) => message.json<{ sequence: string }>().sequence)).toEqual(['3']);
  await world.publish(owner, 'vm', 'one', 4);
  expect((await readAll(third, account)).at(-1)?.json<{ sequence: string }>().sequence).toBe('4');
  const requestId = newUid();
  await world.api().rewindEventCredential({ name }, { requestId });
  expect(await readAll(third, account)).toHaveLength(4);
  await world.api().rewindEventCredential({ name }, { requestId });
  expect(await readAll(third, account)).toHaveLength(0);
});

test('revoked: connections are cut, nobody comes in, the consumers are gone; it cannot be brought back', async () => {
  const { creds, name, account } = await issue({ owner: 'leaver' });
  const open = await Promise.all([1, 2, 3].map(() => enter(world, creds)));
  const revoked = await world.api().revokeEventCredential({ name });
  expect([revoked.state, revoked.settled]).toEqual([State.REVOKED, true]);
  await Promise.all(open.map((connection) => connection.closed()));
  expect(await attempt(world, creds)).toMatch(/Authorization/);
  const jsm = await jetstreamManager(await world.inside());
  for (const stream of [streams.events, streams.state]) {
    await expect(jsm.consumers.info(stream, account)).rejects.toThrow(/consumer not found/);
  }
  expect((await world.api().revokeEventCredential({ name })).state).toBe(State.REVOKED);
  await expect(world.api().rotateEventCredential({ name })).rejects.toThrow(/revoked for good/);
  await expect(world.api().rewindEventCredential({ name })).rejects.toThrow(/revoked for good/);
});

test('expired: the broker lets nobody in any more, the record says so', async () => {
  const { creds, name } = await issue({ owner: 'guest' }, { expireTime: new Date(Date.now() + 5_000) });
  while (!/Authorization/.test(await attempt(world, creds))) await systemClock.sleep(100);
  await settled(name, State.EXPIRED);
  expect(await attempt(world, creds)).toMatch(/Authorization/);
  await expect(issue({ owner: 'late' }, { expireTime: new Date(0) })).rejects.toThrow(/passed already/);
});

test('made and revoked while the broker is away, then killed: the next process brings the broker to it', async () => {
  const kept = await issue({ owner: 'kept' });
  const ended = await issue({ owner: 'ended' });
  await world.nats.kill();
  const revoked = await world.api().revokeEventCredential({ name: ended.name });
  expect([revoked.state, revoked.settled]).toEqual([State.REVOKED, false]);
  const made = await issue({ owner: 'made' });
  expect(made.credential.settled).toBe(false);
  await world.stop();
  await world.nats.restart();
  expect(await attempt(world, ended.creds)).toBe('came in');
  await world.start();
  await settled(ended.name, State.REVOKED);
  await settled(made.name, State.ACTIVE);
  expect(await attempt(world, ended.creds)).toMatch(/Authorization/);
  expect(await attempt(world, made.creds)).toBe('came in');
  expect(await attempt(world, kept.creds)).toBe('came in');
});

test('without the state stream a former secret is cut off all the same, and others are ended', async () => {
  await using own = await openCredentialsWorld();
  const made = async (displayName: string) => {
    const credential = { header: { displayName }, slice: { owner: displayName } };
    const { creds, credential: issued } = await own.api().createEventCredential({ credential });
    return { creds, name: issued?.header?.name ?? '' };
  };
  const stuck = await made('stuck');
  const ended = await made('ended');
  const jsm = await jetstreamManager(await own.inside());
  await jsm.streams.delete(streams.state);
  const { creds, credential } = await own.api().rotateEventCredential({ name: stuck.name });
  expect(credential?.settled).toBe(false);
  expect(await attempt(own, stuck.creds)).toMatch(/Authorization/);
  expect(await attempt(own, creds)).toBe('came in');
  await own.nats.kill();
  await own.api().revokeEventCredential({ name: ended.name });
  await own.nats.restart();
  while ((await attempt(own, ended.creds)) === 'came in') await systemClock.sleep(100);
  expect(await attempt(own, ended.creds)).toMatch(/Authorization/);
});

test('a start that the broker would refuse is refused', async () => {
  for (const value of [new Date(253_402_300_800_000), new Date(-1)]) {
    const start = { from: { $case: 'time' as const, value } };
    await expect(issue({ owner: 'late' }, { start })).rejects.toMatchObject({ kind: 'invalid' });
  }
});

test('a broker that lost its accounts, its streams and its consumers gets them back', async () => {
  const owner = newUid();
  const { creds, account } = await issue({ owner }, { start: { from: { $case: 'now', value: true } } });
  await world.stop();
  await world.nats.kill();
  const folder = path.dirname(world.nats.keys?.folder ?? '');
  await rm(path.join(folder, 'accounts', `${account}.jwt`));
  await rm(path.join(folder, 'jetstream'), { recursive: true });
  await world.nats.restart();
  expect(await attempt(world, creds)).toMatch(/Authorization/);
  await world.start();
  while ((await attempt(world, creds)) !== 'came in') await systemClock.sleep(50);
  await world.publish(owner, 'vm', 'after', 1);
  await using third = await enter(world, creds);
  expect(await readAll(third, account)).toHaveLength(1);
});

test('as many are in force as the limit allows; names are unique; lists and filters', async () => {
  await using small = await openCredentialsWorld({ NEPHOS_EVENTS_CREDENTIAL_LIMIT: '1' });
  const credential = { header: { displayName: 'one', labels: { team: 'a' } }, slice: { everything: true } };
  const made = await small.api().createEventCredential({ credential });
  const another = () =>
    small.api().createEventCredential({ credential: { ...credential, header: { displayName: 'two' } } });
  await expect(another()).rejects.toMatchObject({ reason: 'LIMIT_REACHED' });
  await small.api().revokeEventCredential({ name: made.credential?.header?.name ?? '' });
  await expect(small.api().createEventCredential({ credential })).rejects.toMatchObject({
    reason: 'DISPLAY_NAME_TAKEN',
  });
  await another();
  const listed = async (filter: string) => {
    const { credentials } = await small.api().listEventCredentials({ filter });
    return credentials.map(({ header }) => header?.displayName);
  };
  expect(await listed('state = "ACTIVE"')).toEqual(['two']);
  expect(await listed('labels.team = "a"')).toEqual(['one']);
});

test('without the keys nothing is issued, and the error says what is missing', async () => {
  await using open = await startNatsServer();
  await using bare = await openCredentialsWorld({ NEPHOS_EVENTS_NATS_SIGNER: '', NEPHOS_NATS: open.url });
  const credential = { header: { displayName: 'x' }, slice: { owner: 'x' } };
  await expect(bare.api().createEventCredential({ credential })).rejects.toMatchObject({
    kind: 'precondition',
    message: expect.stringContaining('NEPHOS_EVENTS_NATS_SIGNER'),
  });
});
