import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type Bus, connectBus, type Subscription, subscribe } from '@nephos/events';
import { systemClock } from '@nephos/service';
import { type Platform, startPlatform } from '@nephos/testing';
import { runLine, startCli, type Where } from './cli-run.ts';

let platform: Platform;
let where: Where;
let bus: Bus;
let reader: Subscription;
let broken = true;

const silent = (): void => undefined;

beforeAll(async () => {
  platform = await startPlatform();
  const { nats, services } = platform;
  const natsCreds = nats.keys?.credsOf('test');
  where = { directory: services.directory.address, nats: nats.url, natsCreds };
  const log = { debug: silent, info: silent, warn: silent, error: silent };
  bus = await connectBus({ name: 'test', clock: systemClock, log, nats: nats.url, natsCreds });
  reader = subscribe(bus, { name: 'billing', filter: { entity: 'zone' }, attempts: 1 }, async ({ id }) => {
    if (broken) throw new Error(`cannot bill ${id}`);
  });
  await reader.started;
  for (const displayName of ['east', 'west', 'north']) {
    await platform.api.zones.createZone({ zone: { header: { displayName } } });
  }
  while (reader.counts.deadLetters < 3) await systemClock.sleep(10);
});

afterAll(async () => {
  await reader[Symbol.asyncDispose]();
  await bus[Symbol.asyncDispose]();
  await platform[Symbol.asyncDispose]();
});

const run = (line: string) => runLine(where, line);

async function json(line: string) {
  const { code, stdout, stderr } = await run(`${line} --json`);
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

test('a tail of what does not exist is refused, with the words there are', async () => {
  const { code, stderr } = await run('events tail --entity nosuch');
  expect(code).toBe(1);
  expect(stderr).toMatch(/--entity is "nosuch", and there is no such entity; known: .*\bvm\b/);
});

test('subscriptions: list, show, delete', async () => {
  const list = await run('subscriptions list');
  expect(list.stdout).toMatch(
    /^NAME +CREDENTIAL +ACTIVITY +LAG +UNACKED +OLDEST +REDELIVERED +DEAD +LAST ACTIVE +EVENTS$/m,
  );
  expect(list.stdout).toMatch(
    /^billing +- +READING +0 +0 +- +0 +3 +\d{4}-.* +nephos\.v1\.\*\.\*\.zone\.\*$/m,
  );
  expect(await json('subscriptions show billing')).toMatchObject({
    activity: 'ACTIVITY_READING',
    deadLetters: '3',
  });
  expect(await run('subscriptions delete billing')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('RESOURCE_IN_USE'),
  });
  expect(await run('subscriptions show nobody')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('RESOURCE_NOT_FOUND'),
  });
});

test('dead letters: list, show, redrive, drop', async () => {
  const list = await run('dead-letters list --subscription billing');
  expect(list.stdout).toMatch(
    /^ID +SUBSCRIPTION +EVENT +TRIES +REDRIVES +SINCE +REASON\n\d+-\w+ +billing +zone\/\S+\/1 +1 +0 /,
  );
  const [first, second] = (await json('dead-letters list')) as { name: string; eventId: string }[];
  const id = first?.name.replace('deadLetters/', '');
  expect(await json(`dead-letters show ${id}`)).toMatchObject({
    cloudEvent: { specversion: '1.0', id: first?.eventId },
  });
  expect((await run(`dead-letters show ${id}`)).stdout).toContain('reason: Error: cannot bill');

  const failed = await run(`dead-letters redrive ${id}`);
  expect(failed).toMatchObject({
    code: 1,
    stdout: expect.stringMatching(/FAILED +Error: cannot bill/),
    stderr: expect.stringContaining('0 of 1 handled'),
  });
  broken = false;
  expect(await run(`dead-letters drop ${second?.name}`)).toMatchObject({ code: 0, stdout: 'dropped 1\n' });
  expect(await run('dead-letters redrive')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('which ones?'),
  });
  expect(await run('dead-letters drop')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('which ones?'),
  });
  const redriven = await run('dead-letters redrive --subscription billing');
  expect(redriven).toMatchObject({ code: 0, stderr: expect.stringContaining('2 of 2 handled') });
  expect(redriven.stdout).toMatch(/^\d+-\w+ {2}billing {2}zone\/\S+ {2}HANDLED$/m);
  expect(await json('dead-letters list')).toEqual([]);
  expect(await run('dead-letters drop --subscription billing')).toMatchObject({
    code: 0,
    stdout: 'dropped 0\n',
  });
});

test('events: tail since, schema, asyncapi', async () => {
  const tail = startCli(where, ['events', 'tail', '--entity', 'zone', '--since', '10m']);
  await tail.said('zone north');
  tail.interrupt();
  expect((await tail.outcome).stdout).toMatch(/zone east #1 created[\s\S]*zone west #1 created/);
  expect(await run('events tail --since yesterday')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('--since'),
  });
  expect((await run('events schema')).stdout).toContain('\nnephos.orchestration.v1.Vm.change\n');
  expect(await json('events schema dev.nephos.vm.v1.created')).toMatchObject({
    title: 'dev.nephos.vm.v1.created',
  });
  expect(await json('events asyncapi')).toMatchObject({ asyncapi: '3.0.0', channels: { vm: {} } });
});

test('each group has examples', async () => {
  for (const group of ['events', 'subscriptions', 'dead-letters']) {
    expect((await run(`${group} --help`)).stdout).toContain('Examples:');
  }
});
