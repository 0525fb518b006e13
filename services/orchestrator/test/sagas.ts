/**
 * Every job on VMs, with worlds to prove it in; the harnesses of libs/jobs run over them (e2e/every-saga.test.ts).
 * The definitions share a host and a store, as they do in life.
 */
import { MemoryJob, type OpenSagas, type World as SagaWorld, saga } from '@nephos/jobs/testing';
import { VmStatus_State as State } from '@nephos/proto/nephos/orchestration/v1/vm';
import { Volume_State as VolumeState } from '@nephos/proto/nephos/orchestration/v1/volume';
import { newUid } from '@nephos/service';
import type { OperationKind } from '../src/domain/vm/vm.ts';
import { vmJobs } from '../src/jobs/index.ts';
import type { VmJobDeps } from '../src/jobs/operation.ts';
import type { OperationInput } from '../src/records/operation.ts';
import { type Ground, MiB, openGround, openWorld, type World } from './support/world.ts';

interface Scene {
  readonly ground: Ground;
  readonly world: World;
}

export async function openSagas(): Promise<OpenSagas> {
  const stack = new AsyncDisposableStack();
  const ground = stack.use(await openGround());
  const world = stack.use(await openWorld(ground));
  // Nothing that the API submits begins: the harnesses run the jobs.
  world.jobs.queueing = true;
  const scene = { ground, world };
  const kinds = Object.keys(vmJobs) as OperationKind[];
  return {
    sagas: kinds.map((kind) => saga(vmJobs[kind], () => worldFor(scene, kind))),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** A VM that was asked for and on which nobody works yet. */
async function pendingVm({ ground, world }: Scene): Promise<string> {
  const header = { displayName: newUid(), owner: 'ann', zone: ground.zone };
  const spec = { template: ground.template.header?.name ?? '', vcpus: 1, memoryBytes: BigInt(32 * MiB) };
  const operation = await world.vms.createVm({ vm: { header, spec } });
  const jobUid = operation.name.slice('operations/'.length);
  const vmUid = world.jobs.records.get(jobUid)?.target.slice('vms/'.length) ?? '';
  await world.records.operations.remove(vmUid);
  return vmUid;
}

async function run({ world }: Scene, kind: OperationKind, input: OperationInput): Promise<void> {
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
async function strand({ world }: Scene, vmUid: string): Promise<void> {
  const failure = { reason: 'HYPERVISOR_FAILED', message: 'for the test' };
  await world.deps.projector.change(vmUid, (vm) => ({ ...vm, phase: 'failed', failure }));
  await world.deps.volumes.modify((await world.deps.projector.get(vmUid)).value.rootVolumeUid, (volume) => ({
    ...volume,
    state: 'creating',
  }));
}

async function worldFor(scene: Scene, kind: OperationKind): Promise<SagaWorld<OperationInput, VmJobDeps>> {
  const { world } = scene;
  const vmUid = await pendingVm(scene);
  for (const done of before[kind]) await run(scene, done, { vmUid });
  if (kind === 'vm.clean') await strand(scene, vmUid);
  const volumeUid = (await world.records.vms.get(vmUid))?.value.rootVolumeUid ?? '';
  return {
    deps: world.deps,
    input: { vmUid },
    leaks: () => wrongWith(scene, kind, vmUid, volumeUid),
    faults: () => wrongWith(scene, kind, vmUid, volumeUid),
    dispose: () => run(scene, 'vm.expunge', { vmUid }),
  };
}

/** What does not fit together about the VM now that nobody works on it. */
async function wrongWith(
  { ground, world }: Scene,
  kind: OperationKind,
  vmUid: string,
  volumeUid: string,
): Promise<string[]> {
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
