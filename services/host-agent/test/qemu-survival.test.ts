/** What holds when the agent dies: machines run on, are found again, and what happened meanwhile is told. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { connect } from 'node:net';
import path from 'node:path';
import { beforeAll, expect, jest, test } from '@jest/globals';
import { newUid } from '@nephos/service';
import type { MachineSpec } from '../src/adapters/qemu/index.ts';
import { observations, prepareQemuHost, type QemuHost, serialShows, TestRoot } from './qemu-guest.ts';

let host: QemuHost;

// Bounds against a hang alone: an emulated guest beside other work may be slow.
jest.setTimeout(600_000);
const graceMs = 300_000;

beforeAll(async () => {
  host = await prepareQemuHost();
});

/** Starts the machine from another process; returns that process. */
async function driverElsewhere(root: TestRoot, spec: MachineSpec): Promise<ChildProcess> {
  const given = {
    root: root.root,
    socketFolder: root.sockets,
    installation: host.installation,
    spec: { ...spec, generation: String(spec.generation), memoryBytes: String(spec.memoryBytes) },
  };
  const file = path.join(import.meta.dirname, 'qemu-driver-child.ts');
  const child = spawn(process.execPath, [file, JSON.stringify(given)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await Promise.race([
    once(child.stdout, 'data'),
    once(child, 'exit').then(() => Promise.reject(new Error('the driver ended'))),
  ]);
  return child;
}

async function killed(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL');
  await once(child, 'exit');
}

test('the agent is killed while a machine runs: it runs on, is found again and obeys', async () => {
  await using root = await TestRoot.create(host);
  const spec = await root.spec('web-1');
  await killed(await driverElsewhere(root, spec));
  expect(await root.processes()).toHaveLength(1);

  await using driver = await root.open();
  expect(await driver.list()).toMatchObject([
    { vmUid: spec.vmUid, incarnationUid: spec.incarnationUid, state: 'running', managed: true },
  ]);
  await serialShows(driver, spec.vmUid, 'web-1 is up');
  expect((await driver.start(spec)).state).toBe('running');
  expect(await root.processes()).toHaveLength(1);
  const stopped = await driver.stop(spec.vmUid, { graceMs });
  expect(stopped).toMatchObject({ state: 'gone', cause: 'requested' });
  expect(await serialShows(driver, spec.vmUid, 'power button')).toContain('going down');
  await driver.remove(spec.vmUid);
  expect(await root.leftovers()).toEqual([]);
});

test("a guest's power-off while the agent was away is still to be seen", async () => {
  await using root = await TestRoot.create(host);
  const spec = await root.spec('web-2');
  const elsewhere = await driverElsewhere(root, spec);
  {
    await killed(elsewhere);
    await using driver = await root.open();
    await serialShows(driver, spec.vmUid, 'web-2 is up');
    const console = connect(driver.sockets(spec.vmUid).serial);
    await once(console, 'connect');
    await driver[Symbol.asyncDispose]();
    console.write('poweroff\n');
    await serialShows(driver, spec.vmUid, 'Power down');
    console.destroy();
  }
  await using driver = await root.open();
  const { next } = observations(driver);
  const powerOff = await driver.status(spec.vmUid);
  expect(powerOff.state === 'powered-off' ? powerOff : await next('powered-off')).toMatchObject({
    state: 'powered-off',
    cause: 'guest',
    managed: true,
  });
});

test('a QEMU that died while the agent was away is lost, and its end is remembered', async () => {
  await using root = await TestRoot.create(host);
  const spec = await root.spec('web-3');
  await killed(await driverElsewhere(root, spec));
  await root.killProcesses();
  for (const _time of ['first', 'second']) {
    await using driver = await root.open();
    expect(await driver.list()).toMatchObject([
      { vmUid: spec.vmUid, state: 'gone', cause: 'lost', managed: true },
    ]);
    expect((await driver.start(spec)).state).toBe('gone');
  }
  expect(await root.processes()).toEqual([]);
});

test('a machine that nobody here started is told and never touched', async () => {
  await using root = await TestRoot.create(host);
  const spec = await root.spec('web-4');
  const foreignUuid = newUid();
  await killed(await driverElsewhere(root, spec));
  await rm(path.join(root.root, 'vms', spec.vmUid, 'machine.json'));
  const foreign = spawn(
    host.installation.binary,
    ['-S', '-nodefaults', '-display', 'none', '-machine', 'none', '-name', 'legacy', '-uuid', foreignUuid],
    { stdio: 'ignore' },
  );
  try {
    await once(foreign, 'spawn');
    await using driver = await root.open();
    const listed = await driver.list();
    const of = (vmUid: string) => listed.find((each) => each.vmUid === vmUid);
    expect(of(spec.vmUid)).toMatchObject({ state: 'running', managed: false, incarnationUid: '' });
    expect(of(foreignUuid)).toMatchObject({ managed: false, message: expect.stringContaining('legacy') });
    await expect(driver.start(spec)).rejects.toMatchObject({ reason: 'STATE_FORBIDS' });
    expect((await driver.stop(spec.vmUid, { graceMs: 0 })).state).toBe('running');
    expect(await root.processes()).toHaveLength(1);
  } finally {
    foreign.kill('SIGKILL');
  }
});
