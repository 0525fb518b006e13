/** The generic saga harnesses of libs/jobs over every job on VMs: steps twice, failing, dying; nothing leaks. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import {
  crashEachStep,
  failEachStep,
  type World as HarnessWorld,
  MemoryJob,
  repeatEachStep,
} from '@nephos/jobs/testing';
import { VmStatus_State as State } from '@nephos/proto/nephos/orchestration/v1/vm';
import { Volume_State as VolumeState } from '@nephos/proto/nephos/orchestration/v1/volume';
import { newUid } from '@nephos/service';
import type { OperationKind } from '../src/domain/vm/vm.ts';
import { vmJobs } from '../src/jobs/index.ts';
import type { VmJobDeps } from '../src/jobs/operation.ts';
import type { OperationInput } from '../src/records/operation.ts';
import { type Ground, MiB, openGround, openWorld, type World } from './support/world.ts';

let ground: Ground;
let world: World;
beforeAll(async () => {
  ground = await openGround();
  world = await openWorld(ground);
  // Nothing that the API submits begins: the harnesses run the jobs.
  world.jobs.queueing = true;
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await ground[Symbol.asyncDispose]();
});

/** A VM that was asked for and on which nobody works yet. */
async function pendingVm(): Promise<string> {
  const header = { displayName: newUid(), owner: 'ann', zone: ground.zone };
  const spec = { template: ground.template.header?.name ?? '', vcpus: 1, memoryBytes: BigInt(32 * MiB) };
  const operation = await world.vms.createVm({ vm: { header, spec } });
  const jobUid = operation.name.slice('operations/'.length);
  const vmUid = world.jobs.records.get(jobUid)?.target.slice('vms/'.length) ?? '';
  await world.records.operations.remove(vmUid);
  return vmUid;
}

async function run(kind: OperationKind, input: OperationInput): Promise<void> {
  await new MemoryJob(vmJobs[kind], input, { deps: world.deps }).run();
}

/** What has to have happened before each job. */
const before: Readonly<Record<OperationKind, readonly OperationKind[]>> = {
  'vm.create': [],
  'vm.start': ['vm.create', 'vm.stop'],
  'vm.stop': ['vm.create'],
  'vm.reboot': ['vm.create'],
  'vm.delete': ['vm.create'],
  'vm.undelete': ['vm.create', 'vm.delete'],
  'vm.expunge': ['vm.create'],
  'vm.clean': ['vm.create'],
};

/** A VM that failed while its host was away, so that all of it is still there. */
async function strand(vmUid: string): Promise<void> {
  const failure = { reason: 'HYPERVISOR_FAILED', message: 'for the test' };
  await world.deps.projector.change(vmUid, (vm) => ({ ...vm, phase: 'failed', failure }));
  await world.deps.volumes.modify((await world.deps.projector.get(vmUid)).value.rootVolumeUid, (volume) => ({
    ...volume,
    state: 'creating',
  }));
}

async function worldFor(kind: OperationKind): Promise<HarnessWorld<OperationInput, VmJobDeps>> {
  const vmUid = await pendingVm();
  for (const done of before[kind]) await run(done, { vmUid });
  if (kind === 'vm.clean') await strand(vmUid);
  const volumeUid = (await world.records.vms.get(vmUid))?.value.rootVolumeUid ?? '';
  return {
    deps: world.deps,
    input: { vmUid },
    leaks: () => wrongWith(kind, vmUid, volumeUid),
    faults: () => wrongWith(kind, vmUid, volumeUid),
    dispose: () => run('vm.expunge', { vmUid }),
  };
}

/** What does not fit together about the VM now that nobody works on it. */
async function wrongWith(kind: OperationKind, vmUid: string, volumeUid: string): Promise<string[]> {
  const stored = await world.records.vms.get(vmUid);
  const vm = stored && world.records.vms.message(stored);
  const wrong: string[] = [];
  const must = (fact: boolean, what: string): void => void (fact || wrong.push(what));
  must((await world.records.operations.get(vmUid))?.value.holder === undefined, 'the lease is held');
  const placed = stored?.value.hostUid !== undefined;
  must(((await world.capacity.hostOf(vmUid)) !== undefined) === placed, 'claim and placement differ');
  const runs = (await ground.agent.running()).includes(vmUid);
  const unfinished = kind === 'vm.clean' || vm?.status?.state === State.EXPUNGING;
  if (!unfinished) must(runs === (vm?.status?.state === State.RUNNING), 'what runs is not what is shown');
  const volume = await world.records.volumes.get(volumeUid);
  const disk = (await ground.agent.volumes()).includes(volumeUid);
  must(disk ? volume !== undefined : true, 'a disk without a record');
  if (vm?.status?.state === State.RUNNING || vm?.status?.state === State.STOPPED) {
    must(
      volume !== undefined && world.records.volumes.message(volume).state === VolumeState.READY,
      'no ready volume',
    );
  }
  if (vm?.status?.state === State.FAILED && kind === 'vm.create') {
    must(
      !placed && !disk && volume === undefined && vm.status.reason !== '',
      'the failed VM still holds something',
    );
  }
  if (!vm) must(!runs && !disk && volume === undefined, 'something outlives the VM');
  return wrong;
}

test('every job: each step twice, failing and dying', async () => {
  const kinds = Object.keys(vmJobs) as OperationKind[];
  const runs = await Promise.all(kinds.map(everyWay));
  expect(runs.every((count) => count > 10)).toBe(true);
}, 180_000);

/** The definitions side by side: they share a host and a store, as they do in life. */
async function everyWay(kind: OperationKind): Promise<number> {
  const definition = vmJobs[kind];
  const make = () => worldFor(kind);
  const runs = [
    ...(await repeatEachStep(definition, make)),
    ...(await failEachStep(definition, make)),
    ...(await crashEachStep(definition, make)),
  ];
  return runs.length;
}
