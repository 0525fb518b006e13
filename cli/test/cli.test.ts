import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { layGround, type Platform, startPlatform } from '@nephos/testing';
import { runLine, startCli, type Where } from './cli-run.ts';

let platform: Platform;
let where: Where;
beforeAll(async () => {
  platform = await startPlatform();
  await layGround(platform, 'east');
  const { nats, services } = platform;
  where = { directory: services.directory.address, nats: nats.url, natsCreds: nats.keys?.credsOf('test') };
});
afterAll(async () => platform[Symbol.asyncDispose]());

const run = (line: string) => runLine(where, line);

async function json(line: string) {
  const { code, stdout, stderr } = await run(`${line} --json`);
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

describe('the life of a VM', () => {
  test('from an offering to nothing, by its display name', async () => {
    await run('compute-offerings create nano --vcpus 1 --memory 64MiB');
    const made = await run('vms create web --zone east --template east --offering nano --label tier=front');
    expect(made).toMatchObject({ code: 0, stdout: expect.stringContaining('state: STATE_RUNNING') });
    expect(made.stderr).toMatch(/^ {2}place +done/m);

    const list = await run('vms list --filter \'labels.tier = "front"\'');
    expect(list.stdout).toMatch(/^NAME +STATE .*\nweb +RUNNING +1 +64 MiB /);
    expect((await run('vms console web')).stdout).toContain('guest web is up');

    expect(await json('vms stop web')).toMatchObject({ status: { state: 'STATE_STOPPED' } });
    expect(await json('vms start web')).toMatchObject({ status: { state: 'STATE_RUNNING' } });
    expect((await run('vms reboot web')).code).toBe(0);
    expect(await json('vms destroy web')).toMatchObject({ status: { state: 'STATE_DELETED' } });
    expect((await json('vms list')).length).toBe(0);
    expect((await json('vms list --deleted')).length).toBe(1);
    expect(await json('vms recover web')).toMatchObject({ status: { state: 'STATE_STOPPED' } });
    expect(await run('vms expunge web')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^vms\/.* is gone\n$/),
    });
    expect(await json('vms list --deleted')).toEqual([]);
  });

  test('without waiting there is an operation, which can be waited for', async () => {
    const { name } = await json(
      'vms create later --zone east --template east --vcpus 1 --memory 64M --no-start --no-wait',
    );
    expect(name).toMatch(/^operations\//);
    expect(await run(`operations wait ${name}`)).toMatchObject({ code: 0 });
    const uid = name.replace('operations/', '');
    // As the table of a narrow terminal prints it.
    expect((await run(`operations wait operations/…${uid.slice(-12)}`)).stdout).toContain(`${name} done`);
    expect((await run(`jobs show ${uid.slice(-12)}`)).stdout).toContain(`name: jobs/${uid}`);
    const tree = await run(`jobs tree ${uid}`);
    expect(tree.stdout).toMatch(/^vm\.create SUCCEEDED in .*\n {2}- acquire +succeeded/);
    expect((await run(`jobs watch ${uid}`)).stdout).toMatch(/^vm\.create SUCCEEDED/);
    expect(await json(`jobs logs ${uid}`)).toEqual(expect.any(Array));
    expect((await run('operations list --limit 1')).stdout).toContain('vm.create');
    await run('vms expunge later');
  });
});

describe('what is there', () => {
  test('every group lists', async () => {
    for (const group of [
      'zones',
      'pods',
      'clusters',
      'hosts',
      'templates',
      'volumes',
      'disk-offerings',
      'jobs',
    ]) {
      expect(await run(`${group} list`)).toMatchObject({ code: 0, stderr: '' });
      expect(await json(`${group} list`)).toEqual(expect.any(Array));
    }
    const services = await run('services');
    for (const name of [
      'directory',
      'job-control',
      'orchestrator',
      'template',
      'host-agent',
      'events',
      'webhooks',
    ]) {
      expect(services.stdout).toMatch(new RegExp(`^${name} +\\S+ +SERVING`, 'm'));
    }
  });

  test('a resource is shown by its name, its uid, either end of it and its display name', async () => {
    const zone = await json('zones show east');
    const { name, uid } = zone.header;
    for (const reference of [name, uid, uid.slice(0, 20), uid.slice(-12)]) {
      expect(await json(`zones show ${reference}`)).toEqual(zone);
    }
  });

  test('--limit goes over pages, and says when there is more', async () => {
    for (let n = 0; n < 3; n += 1) await run(`disk-offerings create size-${n} --size ${n + 1}GiB`);
    expect((await json('disk-offerings list --limit 2')).length).toBe(2);
    expect((await run('disk-offerings list --limit 2')).stderr).toContain('There are more');
    expect((await run('disk-offerings list')).stdout.trimEnd().split('\n').length).toBe(4);
    expect(await run('disk-offerings delete size-0')).toMatchObject({ code: 0 });
  });

  test('a host is cordoned and back', async () => {
    expect(await json("hosts cordon sim-001 --reason 'new disks'")).toMatchObject({
      status: { admin: 'ADMIN_CORDONED' },
    });
    expect(await json('hosts uncordon sim-001')).toMatchObject({ status: { admin: 'ADMIN_ENABLED' } });
  });
});

describe('what went wrong is told in one line, with reason, request and a way out', () => {
  test.each([
    [
      'vms show nobody',
      1,
      /^nephos: there is no vm "nobody"; "nephos vms list" shows what there is \[RESOURCE_NOT_FOUND, request [0-9a-f-]{36}\]\n$/,
    ],
    ["vms list --filter 'size = 3'", 1, /^nephos: .*\[FILTER_INVALID, request [0-9a-f-]{36}\] → .*\n$/],
    ['zones create east', 1, /^nephos: .*\[DISPLAY_NAME_TAKEN, .*\n$/],
    ['vms create big --zone east --template east --vcpus 256 --memory 900GiB', 1, /\[NO_HOST_FITS, .* → /],
    ['vms create odd --zone east --template east --memory lots', 1, /--memory is a size/],
    ['vms list --limit none', 1, /--limit is a whole number/],
    ['vms fly', 2, /unknown command/],
    ['vms create web', 2, /required option '--zone/],
  ])('%s', async (line, code, text) => {
    const outcome = await run(line);
    expect(outcome.stderr).toMatch(text);
    expect(outcome).toMatchObject({ code, stdout: '' });
  });

  test('a platform that is not there', async () => {
    const outcome = await runLine({ directory: '127.0.0.1:1', nats: '' }, 'services');
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toMatch(/SERVICE_UNAVAILABLE.*npm start/);
  });

  test('help teaches with examples, in each group', async () => {
    for (const group of ['', 'vms', 'jobs', 'events', 'hosts', 'templates', 'zones', 'services']) {
      expect(await run(`${group} --help`)).toMatchObject({
        code: 0,
        stdout: expect.stringContaining('Examples:'),
      });
    }
  });
});

test('events come as they happen, a JSON line each, until Ctrl-C', async () => {
  const tail = startCli(where, ['events', 'tail', '--entity', 'zone', '--json', '--from', 'all']);
  await tail.said('"displayName":"east"');
  await run('zones create west');
  await tail.said('"displayName":"west"');
  tail.interrupt();
  const { code, stdout } = await tail.outcome;
  expect(code).toBe(0);
  const events = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(events.map(({ entity, sequence }) => [entity, sequence])).toEqual([
    ['zone', 1],
    ['zone', 1],
  ]);
});

test('a console is followed until Ctrl-C, and on a terminal nothing of it steers', async () => {
  await run('vms create noisy --zone east --template east --vcpus 1 --memory 64MiB');
  const console = startCli(where, ['vms', 'console', 'noisy', '--follow'], { tty: true });
  await console.said('guest noisy is up');
  console.interrupt();
  expect((await console.outcome).code).toBe(0);
  await run('vms expunge noisy');
});
