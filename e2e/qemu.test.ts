/**
 * Real guests on QEMU, through the whole platform, each service a process: a Linux boots and says so on its serial
 * line; it outlives its agent; and when it is expunged nothing of it is left on the machine.
 */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { HostStatus_Link as Link } from '@nephos/proto/nephos/orchestration/v1/host';
import { VmStatus_State as State, type Vm } from '@nephos/proto/nephos/orchestration/v1/vm';
import {
  type Ground,
  judge,
  layGround,
  nameOf,
  type Platform,
  type ServiceProcess,
  startPlatformProcesses,
  succeeded,
  until,
} from '@nephos/testing';

let platform: Platform<ServiceProcess>;
let ground: Ground;
let name: string;

beforeAll(async () => {
  platform = await startPlatformProcesses({ hypervisor: 'qemu' });
  ground = await layGround(platform);
});

afterAll(async () => {
  for (const pid of guests()) process.kill(pid, 'SIGKILL');
  await platform[Symbol.asyncDispose]();
});

/** Processes of guests whose files lie in the platform's data folder. */
function guests(): number[] {
  const pids = readdirSync('/proc').filter((entry) => /^\d+$/.test(entry));
  return pids
    .filter((pid) => commandOf(pid).includes(platform.data) && commandOf(pid).includes('qemu-system'))
    .map(Number);
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

const get = (): Promise<Vm> => platform.api.vms.getVm({ name });

/** Reads the guest's serial line, all of its life, until it said it is up `times` times: once a boot. */
async function saysItIsUp(times: number): Promise<void> {
  const line = 'Nephos guest real is up';
  const enough = new AbortController();
  let text = '';
  for await (const { data } of platform.api.vms.readVmConsole(
    { name, follow: true },
    { signal: enough.signal },
  )) {
    text += data.toString();
    if (text.split(line).length > times) return;
  }
  throw new Error(`the console ended:\n${text}`);
}

test('a guest is deployed, boots, and says so', async () => {
  const { api } = platform;
  const spec = { vcpus: 1, memoryBytes: 2n ** 27n, template: ground.template, hostname: 'real' };
  await succeeded(
    api,
    await api.vms.createVm({ vm: { header: { displayName: 'real', zone: ground.zone }, spec } }),
  );
  name = nameOf((await api.vms.listVms({})).vms[0]);
  expect((await get()).status?.state).toBe(State.RUNNING);
  expect(guests()).toHaveLength(1);
  await saysItIsUp(1);
});

test('the agent is killed: the guest runs on, and is found again by the next', async () => {
  const { api, services } = platform;
  const [pid] = guests();
  const before = (await get()).status;
  await services['host-agent'].kill();
  expect(guests()).toEqual([pid]);
  await services['host-agent'].start();
  await until(async () => {
    const { hosts } = await api.hosts.listHosts({});
    return hosts.every(({ status }) => status?.link === Link.UP);
  });
  expect(guests()).toEqual([pid]);
  const after = (await get()).status;
  expect(after).toMatchObject({ state: State.RUNNING, incarnationUid: before?.incarnationUid });
  await succeeded(api, await api.vms.rebootVm({ name }));
  await saysItIsUp(2);
  expect(guests()).toEqual([pid]);
});

test('stopped and started again: another process over the same disk', async () => {
  const { api } = platform;
  const [pid] = guests();
  await succeeded(api, await api.vms.stopVm({ name, force: true }));
  expect((await get()).status?.state).toBe(State.STOPPED);
  expect(guests()).toEqual([]);
  await succeeded(api, await api.vms.startVm({ name }));
  expect((await get()).status?.state).toBe(State.RUNNING);
  expect(guests()).not.toContain(pid);
  await saysItIsUp(3);
});

test('deleted and expunged: no process, file or claim is left', async () => {
  const { api } = platform;
  await succeeded(api, await api.vms.deleteVm({ name }));
  expect(guests()).toEqual([]);
  expect((await get()).status?.state).toBe(State.DELETED);
  await succeeded(api, await api.vms.expungeVm({ name }));
  await expect(get()).rejects.toMatchObject({ kind: 'not-found' });
  const { problems } = await judge(platform);
  expect(problems).toEqual([]);
  const agent = platform.services['host-agent'].data;
  const uid = name.slice('vms/'.length);
  expect(readdirSync(path.join(agent, 'volumes'))).toEqual([]);
  expect(readdirSync(agent, { recursive: true }).filter((file) => String(file).includes(uid))).toEqual([]);
});
