/** The driver with real QEMU and the real guest. */

import { once } from 'node:events';
import { connect } from 'node:net';
import { beforeAll, expect, jest, test } from '@jest/globals';
import { newUid, systemClock } from '@nephos/service';
import { kill } from '../src/adapters/qemu/processes.ts';
import { QmpClient } from '../src/adapters/qemu/qmp.ts';
import { observations, prepareQemuHost, type QemuHost, serialShows, TestRoot } from './qemu-guest.ts';

let host: QemuHost;

// Bounds against a hang alone: an emulated guest beside other work may be slow.
jest.setTimeout(600_000);
const graceMs = 300_000;

beforeAll(async () => {
  host = await prepareQemuHost();
});

test('a guest boots, says its name, and stops when asked; its disk comes back', async () => {
  await using root = await TestRoot.create(host);
  await using driver = await root.open();
  const { next, seen } = observations(driver);
  const spec = await root.spec('web-1');

  const started = await driver.start(spec);
  expect(started).toMatchObject({ state: 'running', managed: true, generation: 1n });
  expect(started.pinned).toEqual({ machine_type: 'pc-q35-7.2', cpu_model: 'Nehalem-v1', pci_layout: '1' });
  const said = await serialShows(driver, spec.vmUid, 'boot 1 of this disk');
  expect(said).toMatch(/Nephos guest web-1 is up: Linux \d+\.\d+/);

  const again = await driver.start(spec);
  expect(again.state).toBe('running');
  expect(await root.processes()).toHaveLength(1);

  const stopped = await driver.stop(spec.vmUid, { incarnationUid: spec.incarnationUid, graceMs });
  expect(stopped).toMatchObject({ state: 'gone', cause: 'requested', incarnationUid: spec.incarnationUid });
  await next('powered-off', 'requested');
  await next('gone', 'requested');
  expect(await serialShows(driver, spec.vmUid, 'power button')).toContain('web-1 is going down');
  expect(seen.map(({ state }) => state)).toEqual(['running', 'powered-off', 'gone']);

  // An incarnation is one run: asked for again it stays gone; the next one finds the disk as it was.
  expect((await driver.start(spec)).state).toBe('gone');
  const { end } = await driver.readSerial(spec.vmUid, -1, 1);
  const second = { ...spec, incarnationUid: newUid(), generation: 2n, pinned: started.pinned };
  expect((await driver.start(second)).state).toBe('running');
  await serialShows(driver, spec.vmUid, 'boot 2 of this disk', end);

  // Another run than the one that is there is left alone; power is cut at once without grace.
  await driver.stop(spec.vmUid, { incarnationUid: spec.incarnationUid, graceMs: 0 });
  expect(await root.processes()).toHaveLength(1);
  await expect(driver.remove(spec.vmUid)).rejects.toMatchObject({ reason: 'STATE_FORBIDS' });
  await driver.stop(spec.vmUid, { graceMs: 0 });
  await driver.remove(spec.vmUid);
  await driver.remove(spec.vmUid);
  expect(await root.leftovers()).toEqual([]);
  expect(await driver.status(spec.vmUid)).toMatchObject({ state: 'gone', cause: 'none' });
});

test("a guest's own power-off and restart are seen; a reboot is done once", async () => {
  await using root = await TestRoot.create(host);
  await using driver = await root.open();
  const { next, seen } = observations(driver);
  const spec = await root.spec('web-2');
  await driver.start(spec);
  await serialShows(driver, spec.vmUid, 'boot 1 of this disk');

  const rebootUid = newUid();
  const options = { incarnationUid: spec.incarnationUid, rebootUid, graceMs };
  expect((await driver.reboot(spec.vmUid, options)).state).toBe('running');
  expect((await driver.reboot(spec.vmUid, options)).state).toBe('running');
  const said = await serialShows(driver, spec.vmUid, 'boot 2 of this disk');
  expect(said).toContain('power button');
  expect(said).not.toContain('boot 3');

  const console = connect(driver.sockets(spec.vmUid).serial);
  await once(console, 'connect');
  console.write('reboot\n');
  await next('running', 'guest');
  await serialShows(driver, spec.vmUid, 'boot 3 of this disk');
  console.write('poweroff\n');
  expect(await next('powered-off', 'guest')).toMatchObject({ incarnationUid: spec.incarnationUid });
  expect(seen.filter(({ state }) => state === 'powered-off').map(({ cause }) => cause)).toEqual([
    'requested',
    'guest',
  ]);
  console.destroy();

  // What the guest left is cleared away by the next run.
  const after = { ...spec, incarnationUid: newUid(), generation: 2n };
  expect((await driver.start(after)).state).toBe('running');
  expect(await root.processes()).toHaveLength(1);
  const older = { ...spec, incarnationUid: newUid(), generation: 1n };
  await expect(driver.start(older)).rejects.toMatchObject({ reason: 'STATE_FORBIDS' });
  await driver.stop(spec.vmUid, { graceMs: 0, cause: 'host-shutdown' });
  await next('gone', 'host-shutdown');
});

test('a QEMU that is killed is gone, and the kill is told', async () => {
  await using root = await TestRoot.create(host);
  await using driver = await root.open();
  const { next } = observations(driver);
  const spec = await root.spec('web-3');
  await driver.start(spec);
  for (const each of await root.processes()) await kill(each);
  expect(await next('gone')).toMatchObject({ cause: 'crashed', message: expect.stringContaining('SIGKILL') });
  expect(await driver.status(spec.vmUid)).toMatchObject({ state: 'gone', cause: 'crashed' });
  expect(await driver.stop(spec.vmUid, { graceMs })).toMatchObject({ state: 'gone', cause: 'crashed' });
});

test('a QEMU that does not answer is unknown, not gone, and is told of when it answers again', async () => {
  await using root = await TestRoot.create(host);
  const spec = await root.spec('web-4');
  {
    await using driver = await root.open();
    await driver.start(spec);
  }
  const [running] = await root.processes();
  if (!running) throw new Error('the machine runs on without its driver');
  process.kill(running.pid, 'SIGSTOP');
  await using driver = await root.open();
  const { next } = observations(driver);
  expect((await driver.status(spec.vmUid)).state).toBe('unknown');
  process.kill(running.pid, 'SIGCONT');
  await next('running');
});

test('a machine that QEMU refuses leaves no process, and the same incarnation may be tried again', async () => {
  await using root = await TestRoot.create(host);
  await using driver = await root.open();
  const spec = await root.spec('web-5');
  const [disk] = spec.disks;
  if (!disk) throw new Error('a spec has a disk');
  const broken = { ...spec, disks: [{ ...disk, image: { ...disk.image, path: '/nowhere.qcow2' } }] };
  await expect(driver.start(broken)).rejects.toMatchObject({
    reason: 'HYPERVISOR_FAILED',
    message: expect.stringContaining('/nowhere.qcow2'),
  });
  expect(await root.processes()).toEqual([]);
  expect((await driver.start(spec)).state).toBe('running');
});

test('further disks, read-only ones among them, and an image over an image', async () => {
  await using root = await TestRoot.create(host);
  await using driver = await root.open();
  const [spec, data, tools] = [await root.spec('web-7'), await root.spec('data'), await root.spec('tools')];
  const [dataDisk, toolsDisk] = [data.disks[0], tools.disks[0]];
  if (!dataDisk || !toolsDisk) throw new Error('a spec has a disk');
  const disks = [...spec.disks, dataDisk, { ...toolsDisk, readOnly: true }];
  expect((await driver.start({ ...spec, disks })).state).toBe('running');
  await using monitor = await QmpClient.connect(driver.sockets(spec.vmUid).monitor, { clock: systemClock });
  const nodes = await monitor.execute('query-named-block-nodes', { flat: true });
  const formats = ['disk0', 'disk0-base1', 'disk1', 'disk1-base1', 'disk2', 'disk2-base1'];
  for (const name of formats) {
    const ro = name !== 'disk0' && name !== 'disk1';
    expect(nodes).toContainEqual(expect.objectContaining({ 'node-name': name, drv: 'qcow2', ro }));
  }
});

test('the second monitor is free for people, and QEMU refuses in its own words', async () => {
  await using root = await TestRoot.create(host);
  await using driver = await root.open();
  const spec = await root.spec('web-6');
  await driver.start(spec);
  await using monitor = await QmpClient.connect(driver.sockets(spec.vmUid).monitor, { clock: systemClock });
  expect(await monitor.execute('query-status')).toMatchObject({ status: 'running' });
  await expect(monitor.execute('no-such-command')).rejects.toMatchObject({ reason: 'HYPERVISOR_FAILED' });
  expect((await driver.status(spec.vmUid)).state).toBe('running');
  await monitor.execute('stop');
  expect((await driver.status(spec.vmUid)).state).toBe('paused');
});
