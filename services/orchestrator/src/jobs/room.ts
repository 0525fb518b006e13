/**
 * Steps on what a VM holds of its host. The VM's own `claimed` brackets the ledger: it says `all` before room is
 * claimed and `disk` only after the rest was given back, so that whatever a crash interrupts shows as too much, which
 * the reconciler sees and gives back.
 */
import { needsOf, roomFor } from '../domain/vm/needs.ts';
import type { Vm } from '../domain/vm/vm.ts';
import type { CapacityClaim } from '../ports.ts';
import { currentRun, mayRun, placed } from './machine.ts';
import type { Operation } from './operation.ts';

/** Everything the VM needs to run. */
function whole(vm: Vm): CapacityClaim {
  return { vmUid: vm.header.uid, ...needsOf(vm) };
}

/** What it keeps while it does not run. */
function diskOnly(vm: Vm): CapacityClaim {
  return { ...whole(vm), vcpus: 0, memoryBytes: 0 };
}

/** Finds a host and claims the VM's room there. */
export async function place(operation: Operation): Promise<string> {
  const { deps, job } = operation;
  return await job.step(
    'place',
    async () => {
      const vm = await operation.vm();
      const { hostUid } = await deps.placement.place(roomFor(vm));
      await operation.change((now) => ({ ...now, hostUid, claimed: 'all' }));
      return hostUid;
    },
    { undo: () => unplace(operation) },
  );
}

/** Gives the room back, unless something of the VM may still be on the host. */
async function unplace(operation: Operation): Promise<void> {
  const { deps, vmUid } = operation;
  const vm = await operation.vm();
  if (vm.phase !== 'creating') return;
  const run = await currentRun(operation, vm);
  const machineLeft = run !== undefined && run.state !== 'gone';
  const diskLeft = (await deps.volumes.get(vm.rootVolumeUid)) !== undefined;
  if (machineLeft || diskLeft) return;
  await deps.capacity.release(vmUid);
  await operation.change(offHost);
}

/** The VM without a host. */
export function offHost(vm: Vm): Vm {
  const { hostUid: _host, claimed: _claimed, ...rest } = vm;
  return rest;
}

/** Claims what the VM needs to run on its host, where it holds only its disk. */
export async function claimAll(operation: Operation): Promise<void> {
  await operation.job.step(
    'claim',
    async () => {
      const { value: vm } = await operation.change((now) => ({ ...now, claimed: 'all' }));
      await operation.deps.capacity.resize(placed(vm), whole(vm));
    },
    {
      undo: async () => {
        if (!mayRun(await currentRun(operation))) await shrink(operation);
      },
    },
  );
}

/** Gives back what a VM that does not run needs no more. */
export async function releaseAllButDisk(operation: Operation): Promise<void> {
  await operation.job.step('release', () => shrink(operation));
}

async function shrink(operation: Operation): Promise<void> {
  const vm = await operation.vm();
  if (vm.hostUid === undefined || vm.claimed !== 'all') return;
  await operation.deps.capacity.resize(vm.hostUid, diskOnly(vm));
  await operation.change((now) => ({ ...now, claimed: 'disk' }));
}

/** Makes the desired power what the operation is about; undone, it is what it was, unless the deed is done. */
export async function intendPower(operation: Operation, power: Vm['spec']['desiredPower']): Promise<void> {
  const { job } = operation;
  const before = await job.step('power-before', async () => (await operation.vm()).spec.desiredPower);
  await job.step(
    'intend',
    async () => {
      await operation.change((vm) => withPower(vm, power));
    },
    {
      input: before,
      undo: async (previous) => {
        if (power === 'off' && !mayRun(await currentRun(operation))) return;
        await operation.change((vm) => withPower(vm, previous));
      },
    },
  );
}

function withPower(vm: Vm, desiredPower: Vm['spec']['desiredPower']): Vm {
  return vm.spec.desiredPower === desiredPower ? vm : { ...vm, spec: { ...vm.spec, desiredPower } };
}
