/** Takes the first VM back for good, and looks whether anything of it is left: process, file, claim or record. */
import { readdirSync } from 'node:fs';
import { HostServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/host';
import { type Vm, VmServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/vm';
import { Volume_State, VolumeServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/volume';
import {
  HypervisorServiceDefinition,
  MachineObservation_State,
} from '@nephos/proto/nephos/plugin/v1/hypervisor';
import { StorageServiceDefinition } from '@nephos/proto/nephos/plugin/v1/storage';
import { Internal } from '@nephos/service';
import { follow, vmName } from './hello-vm.ts';
import { type Inventory, type Maker, nameOf } from './inventory.ts';
import { guestProcesses } from './processes.ts';

const settleMs = 10_000;
const askAgainMs = 100;

/** Destroys, then expunges. Throws what failed. */
export async function takeBack(maker: Maker, vm: Vm): Promise<void> {
  const { platform, screen } = maker;
  const vms = await platform.client(VmServiceDefinition, 'orchestrator');
  const name = nameOf(vm);
  const destroy = await vms.deleteVm({ name });
  screen.done('destroy', destroy.name);
  await follow(maker, destroy);
  const expunge = await vms.expungeVm({ name });
  screen.done('expunge', expunge.name);
  await follow(maker, expunge);
}

/** Throws `Internal` that says what is left. `agentData`: the host agent's folder. */
export async function checkNothingLeft(
  maker: Maker,
  vm: Vm,
  inventory: Inventory,
  agentData: string,
): Promise<void> {
  const { platform, screen, signal } = maker;
  const checks: readonly (readonly [string, () => Promise<string | undefined>])[] = [
    ['no record', () => recordLeft(maker, vm)],
    ['no machine', () => machineLeft(maker, vm, inventory)],
    [
      'no process',
      async () => (guestProcesses(vm.header?.uid ?? '').length > 0 ? 'a QEMU process runs' : undefined),
    ],
    ['no volume', () => volumeLeft(maker, vm, inventory)],
    ['no file', async () => fileLeft(agentData, vm)],
    ['no claim', () => claimLeft(maker)],
  ];
  for (const [what, check] of checks) {
    const deadline = platform.clock.monotonic() + settleMs;
    let left = await check();
    // Hosts' public status follows the claims a moment later.
    while (left !== undefined && platform.clock.monotonic() < deadline) {
      await platform.clock.sleep(askAgainMs, signal);
      left = await check();
    }
    if (left !== undefined) throw new Internal('INTERNAL', `something of ${vmName} is left: ${left}`);
    screen.done(what, 'is left');
  }
}

async function recordLeft({ platform }: Maker, vm: Vm): Promise<string | undefined> {
  const vms = await platform.client(VmServiceDefinition, 'orchestrator');
  const { vms: all } = await vms.listVms({ showDeleted: true, pageSize: 500 });
  return all.some((each) => nameOf(each) === nameOf(vm)) ? `the record ${nameOf(vm)}` : undefined;
}

async function machineLeft({ platform }: Maker, vm: Vm, { hosts }: Inventory): Promise<string | undefined> {
  const hypervisor = await platform.client(HypervisorServiceDefinition, 'host-agent');
  for (const { agentHost } of hosts) {
    const { observations } = await hypervisor.listMachines({ host: agentHost, pageSize: 500 });
    const alive = observations.find(
      ({ vmUid, state }) => vmUid === vm.header?.uid && state !== MachineObservation_State.GONE,
    );
    if (alive !== undefined) return `a machine on ${agentHost}`;
  }
  return undefined;
}

async function volumeLeft({ platform }: Maker, vm: Vm, { hosts }: Inventory): Promise<string | undefined> {
  const volumes = await platform.client(VolumeServiceDefinition, 'orchestrator');
  const { volumes: known } = await volumes.listVolumes({ filter: `vm = "${nameOf(vm)}"` });
  const kept = known.find(({ state }) => state !== Volume_State.EXPUNGED);
  if (kept !== undefined) return `the record of volume ${nameOf(kept)}`;
  const storage = await platform.client(StorageServiceDefinition, 'host-agent');
  const volumeUid = vm.status?.rootVolume.replace(/^volumes\//, '');
  for (const { agentHost } of hosts) {
    const { volumes: stored } = await storage.listVolumes({ host: agentHost, pageSize: 500 });
    if (stored.some((each) => each.volumeUid === volumeUid)) return `volume ${volumeUid} on ${agentHost}`;
  }
  return undefined;
}

function fileLeft(agentData: string, vm: Vm): string | undefined {
  const uids = [vm.header?.uid ?? '', vm.status?.rootVolume.replace(/^volumes\//, '') ?? ''].filter(Boolean);
  const files = readdirSync(agentData, { recursive: true, encoding: 'utf8' });
  return files.find((file) => uids.some((uid) => file.includes(uid)));
}

/** Hosts hold claims of the VMs that there still are, and of no other. */
async function claimLeft({ platform }: Maker): Promise<string | undefined> {
  const client = await platform.client(HostServiceDefinition, 'orchestrator');
  const vms = await platform.client(VmServiceDefinition, 'orchestrator');
  const { hosts } = await client.listHosts({ pageSize: 500 });
  const claims = hosts.reduce((sum, { status }) => sum + (status?.vmCount ?? 0), 0);
  const { vms: others } = await vms.listVms({ showDeleted: true, pageSize: 500 });
  if (claims > others.length) return `${claims} claims on hosts for ${others.length} VMs`;
  const busy = hosts.find(
    ({ status }) => (status?.allocated?.cpus ?? 0) > 0 || (status?.allocated?.memoryBytes ?? 0n) > 0n,
  );
  return others.length === 0 && busy !== undefined ? `capacity of ${busy.header?.displayName}` : undefined;
}
