/**
 * Steps on the VM's machine: ask for a run, start it, stop it. Each step reads again before it acts, so that a repeat
 * finds its own work. What is undone is the request: a machine that may have been started is stopped, and if its host
 * cannot be asked the run's record stays as it is, for the reconciler to act on once the host is back.
 */
import type { MachineObservation, MachineSpec } from '@nephos/proto/nephos/plugin/v1/hypervisor';
import { MachineObservation_State as Seen } from '@nephos/proto/nephos/plugin/v1/hypervisor';
import { durationOf, Internal, newUid, Precondition, Unavailable } from '@nephos/service';
import { requestedRun } from '../domain/vm/observe.ts';
import type { Incarnation, Vm } from '../domain/vm/vm.ts';
import { sightingOf } from '../reconcile/incarnations.ts';
import { isUnreachable, type Operation } from './operation.ts';

/** A run that is asked for. */
export interface Run {
  readonly uid: string;
  readonly generation: number;
  readonly hostUid: string;
}

const callMs = 30_000;
const startMs = 120_000;
/** Fence sequences: they rise in the order in which the steps of any one job can reach the host. */
export const sequences = {
  clear: 1,
  replace: 2,
  start: 3,
  stop: 4,
  reboot: 5,
  remove: 6,
  undoStart: 101,
  undoRemove: 102,
};

/** True while a record says that the guest runs. */
export function isRunning(run: Incarnation | undefined): boolean {
  return run?.state === 'running' || run?.state === 'paused';
}

/** True unless there is proof that nothing of the run runs. */
export function mayRun(run: Incarnation | undefined): boolean {
  return run !== undefined && run.state !== 'gone' && run.state !== 'powered-off';
}

export async function currentRun(operation: Operation, vm?: Vm): Promise<Incarnation | undefined> {
  const { incarnation } = vm ?? (await operation.vm());
  return incarnation && (await operation.deps.incarnations.get(incarnation.uid));
}

/** Mints a run, or takes up the one that was asked for and never seen to end. */
export function mintRun(operation: Operation): Promise<Run> {
  return operation.job.step('run', async () => {
    const vm = await operation.vm();
    const hostUid = placed(vm);
    const run = await currentRun(operation, vm);
    if (vm.incarnation && mayRun(run)) return { ...vm.incarnation, hostUid };
    return { uid: newUid(), generation: (vm.incarnation?.generation ?? 0) + 1, hostUid };
  });
}

/** Starts the run. `discard`: undoing also forgets the machine on the host. */
export async function startRun(operation: Operation, run: Run, options: { discard: boolean }): Promise<void> {
  const { incarnations } = operation.deps;
  await operation.job.step(
    'start',
    async ({ signal }) => {
      const { vmUid } = operation;
      const streak = operation.job.input.streak ?? 0;
      await incarnations.request(run.uid, requestedRun(vmUid, run.hostUid, run.generation, streak));
      const { value: vm } = await operation.change((now) => pointTo(now, run));
      await incarnations.forget(vmUid, run.uid);
      const seen = await requestStart(operation, run, machineOf(vm, run), signal);
      await incarnations.answered(run.uid, sightingOf(seen));
      const pinned = { ...seen.pinned };
      await operation.change((now) =>
        now.pinned || Object.keys(pinned).length === 0 ? now : { ...now, pinned },
      );
    },
    { undo: () => undoStart(operation, run, options.discard) },
  );
}

function pointTo(vm: Vm, { uid, generation }: Run): Vm {
  return vm.incarnation?.uid === uid ? vm : { ...vm, incarnation: { uid, generation } };
}

function machineOf(vm: Vm, run: Run): MachineSpec {
  return {
    vmUid: vm.header.uid,
    incarnationUid: run.uid,
    generation: BigInt(run.generation),
    hostname: vm.spec.hostname,
    vcpus: vm.spec.vcpus,
    memoryBytes: BigInt(vm.spec.memoryBytes),
    disks: [{ volumeUid: vm.rootVolumeUid, readOnly: false }],
    pinned: { ...vm.pinned },
  };
}

async function requestStart(
  operation: Operation,
  run: Run,
  machine: MachineSpec,
  signal: AbortSignal,
): Promise<MachineObservation> {
  const { client, host } = await operation.deps.links.hypervisor(run.hostUid);
  const fence = operation.fence(operation.vmUid, sequences.start);
  const options = { signal, deadlineMs: startMs };
  // An earlier run that was believed gone and runs after all would keep this one from starting.
  await stopAnyRun(operation, run.hostUid, { sequence: sequences.start, but: run.uid, signal });
  const { observation } = await client.startMachine({ fence, host, machine }, options);
  if (observation?.state === Seen.RUNNING || observation?.state === Seen.PAUSED) return observation;
  const why = observation?.message ? `: ${observation.message}` : '';
  throw new Precondition('HYPERVISOR_FAILED', `the machine does not run after its start${why}`);
}

/** Asks the host even if no start was asked for yet: from then on it refuses an executor that is late with one. */
async function undoStart(operation: Operation, run: Run, discard: boolean): Promise<void> {
  const { deps, vmUid, job } = operation;
  if (discard && (await operation.vm()).phase !== 'creating') return;
  try {
    await requestStop(operation, { run, graceMs: 0, sequence: sequences.undoStart });
    if (discard) await removeMachine(operation, run.hostUid, sequences.undoStart);
  } catch (error) {
    if (!isUnreachable(error)) throw error;
    job.annotate('the host cannot be asked to stop the machine: it is stopped when the host is back');
    return;
  }
  await deps.projector.project(vmUid);
}

interface StopRequest {
  readonly run: Run;
  readonly graceMs: number;
  readonly sequence: number;
  readonly signal?: AbortSignal;
}

async function requestStop(
  operation: Operation,
  { run, graceMs, sequence, signal }: StopRequest,
): Promise<void> {
  const { deps, vmUid } = operation;
  const { client, host } = await deps.links.hypervisor(run.hostUid);
  const fence = operation.fence(vmUid, sequence);
  const grace = durationOf(graceMs);
  const options = { ...(signal && { signal }), deadlineMs: graceMs + callMs };
  const stop = (incarnationUid: string) =>
    client.stopMachine({ fence, host, vmUid, incarnationUid, grace }, options);
  let { observation } = await stop(run.uid);
  // Another run than the one on record, believed gone before: the VM is to be stopped, so that one too.
  if (observation && isThere(observation) && observation.incarnationUid !== run.uid) {
    ({ observation } = await stop(observation.incarnationUid));
  }
  const seen = observation ? sightingOf(observation) : gone;
  await deps.incarnations.answered(run.uid, seen);
  if (seen.state === 'gone' || seen.state === 'powered-off') return;
  throw new Unavailable('HYPERVISOR_FAILED', `the machine is ${seen.state} after it was told to stop`);
}

const gone = { state: 'gone', cause: 'requested', message: '' } as const;

/** Stops whatever run the VM has. Proof that none runs is success without asking the host. */
export async function stopRun(operation: Operation, name: 'stop' | 'clear', graceMs: number): Promise<void> {
  await operation.job.step(
    name,
    async ({ signal }) => {
      const vm = await operation.vm();
      const run = await currentRun(operation, vm);
      if (!vm.incarnation || run === undefined || run.state === 'gone') return;
      const stopped = { ...vm.incarnation, hostUid: run.hostUid };
      await requestStop(operation, { run: stopped, graceMs, sequence: sequences[name], signal });
      await operation.deps.projector.project(operation.vmUid);
    },
    { timeoutMs: 2 * (graceMs + callMs) },
  );
}

/** Resets the machine; `rebootUid` equal in every try. */
export async function rebootRun(operation: Operation): Promise<void> {
  await operation.job.step('reboot', async ({ signal, id: rebootUid }) => {
    const { vmUid } = operation;
    const vm = await operation.vm();
    if (!vm.incarnation) throw new Precondition('STATE_FORBIDS', `vms/${vmUid} does not run`);
    const { client, host } = await operation.deps.links.hypervisor(placed(vm));
    const fence = operation.fence(vmUid, sequences.reboot);
    const incarnationUid = vm.incarnation.uid;
    await client.rebootMachine(
      { fence, host, vmUid, incarnationUid, rebootUid },
      { signal, deadlineMs: callMs },
    );
  });
}

/** Ours, and not gone. */
function isThere({ managed, state }: MachineObservation): boolean {
  return managed && state !== Seen.GONE;
}

interface StopAny {
  readonly sequence: number;
  /** Uid of the run that is let be. */
  readonly but?: string;
  readonly signal: AbortSignal;
}

/** Stops whatever run of the VM the host shows, on record or not. */
export async function stopAnyRun(
  operation: Operation,
  hostUid: string,
  { sequence, but, signal }: StopAny,
): Promise<void> {
  const { deps, vmUid } = operation;
  const { client, host } = await deps.links.hypervisor(hostUid);
  const options = { signal, deadlineMs: callMs };
  const { observation } = await client.getMachine({ host, vmUid }, options);
  if (!observation || !isThere(observation) || observation.incarnationUid === but) return;
  const { incarnationUid } = observation;
  const fence = operation.fence(vmUid, sequence);
  await client.stopMachine({ fence, host, vmUid, incarnationUid }, options);
}

/** Forgets the machine on its host; it must be stopped. */
export async function removeMachine(
  operation: Operation,
  hostUid: string,
  sequence = sequences.remove,
  signal?: AbortSignal,
): Promise<void> {
  const { client, host } = await operation.deps.links.hypervisor(hostUid);
  const fence = operation.fence(operation.vmUid, sequence);
  await client.removeMachine(
    { fence, host, vmUid: operation.vmUid },
    { ...(signal && { signal }), deadlineMs: callMs },
  );
}

/** Uid of the VM's host. */
export function placed(vm: Vm): string {
  if (vm.hostUid === undefined) throw new Internal('INTERNAL', `vms/${vm.header.uid} is on no host`);
  return vm.hostUid;
}
