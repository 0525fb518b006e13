/**
 * The frame of every job on a VM: takes the VM's lease first, gives it back last, and lends what the steps between
 * need. Owner: the orchestrator's jobs.
 * Invariants: all writes to the VM say "only while I hold it"; every side effect on a host carries the lease's
 * generation, so that an executor that lost the job can touch nothing. A crash leaves the lease with the job, which
 * goes on elsewhere; the reconciler takes it back from a job that is over.
 */
import { defineJob, type JobContext, type JobDefinition } from '@nephos/jobs';
import { Vm as VmMessage } from '@nephos/proto/nephos/orchestration/v1/vm';
import type { Fence } from '@nephos/proto/nephos/plugin/v1/plugin';
import { type Clock, NephosError } from '@nephos/service';
import type { Stored } from '@nephos/store';
import type { OperationLeases } from '../adapters/operation-leases.ts';
import { driftOf } from '../domain/vm/drift.ts';
import { checkAllowed, checkNeeded } from '../domain/vm/phase.ts';
import type { Failure, OperationKind, Vm } from '../domain/vm/vm.ts';
import type { AgentLinks, Capacity, Placement } from '../ports.ts';
import type { Incarnations } from '../reconcile/incarnations.ts';
import type { Projector } from '../reconcile/projector.ts';
import type { OperationInput, OperationLease } from '../records/operation.ts';
import type { VmEntities } from '../records/vm.ts';
import type { VolumeEntities } from '../records/volume.ts';

/** What jobs on VMs work with. */
export interface VmJobDeps {
  readonly vms: VmEntities;
  readonly volumes: VolumeEntities;
  readonly incarnations: Incarnations;
  readonly leases: OperationLeases;
  readonly projector: Projector;
  readonly placement: Placement;
  readonly capacity: Capacity;
  readonly links: Pick<AgentLinks, 'hypervisor' | 'storage' | 'linkNow'>;
  readonly clock: Clock;
  /** How long a deleted VM can be recovered, milliseconds. */
  readonly retentionMs: number;
}

/** The VM in proto JSON, with its type: what the operation's response is made of. */
export type VmResult = { readonly '@type': string } & Readonly<Record<string, unknown>>;
export type VmJob = JobDefinition<OperationInput, VmResult | undefined, VmJobDeps>;

export interface VmJobOptions {
  readonly kind: OperationKind;
  readonly version: number;
  readonly timeoutMs: number;
  /** What is done under the lease. */
  work(operation: Operation): Promise<void>;
  /** After all else was undone and before the lease goes back. */
  unwound?(operation: Operation): Promise<void>;
}

/** An agent that restarts comes back within the tries: half a second doubled seven times is over a minute. */
const retry = { attempts: 8, backoffMs: 500 };

export function defineVmJob({ kind, version, timeoutMs, work, unwound }: VmJobOptions): VmJob {
  return defineJob<OperationInput, VmResult | undefined, VmJobDeps>({
    type: kind,
    version,
    timeoutMs,
    retry,
    events: 'all',
    run: async (job, deps) => {
      const operation = new Operation(job, deps, kind);
      try {
        await operation.acquire(unwound);
        await work(operation);
        return await operation.finish();
      } catch (error) {
        operation.failed(error);
        throw error;
      }
    },
  });
}

export class Operation {
  readonly job: JobContext<OperationInput>;
  readonly deps: VmJobDeps;
  readonly vmUid: string;
  readonly #kind: OperationKind;
  #generation = 0;
  #failure: Failure = { reason: 'JOB_CANCELLED', message: 'the operation was cancelled' };

  constructor(job: JobContext<OperationInput>, deps: VmJobDeps, kind: OperationKind) {
    this.job = job;
    this.deps = deps;
    this.vmUid = job.input.vmUid;
    this.#kind = kind;
  }

  /** Why the job unwinds; known from the run, or from the replay of what is on record. */
  get failure(): Failure {
    return this.#failure;
  }

  failed(error: unknown): void {
    const reason = error instanceof NephosError ? error.reason : 'INTERNAL';
    const message = error instanceof NephosError ? error.message : 'a fault of the platform';
    this.#failure = { reason, message };
  }

  async acquire(unwound: VmJobOptions['unwound']): Promise<void> {
    const { job, deps, vmUid } = this;
    this.#generation = await job.step(
      'acquire',
      async () => {
        const held = await deps.leases.get(vmUid);
        // Whoever asked looked before it was held: another operation may have come between and changed the VM.
        if (held?.holder?.jobUid === job.uid) return await this.#checked(held);
        await this.#checked(held);
        const input = job.input;
        const lease = await deps.leases.acquire({ vmUid, kind: this.#kind, jobUid: job.uid, input });
        await deps.projector.project(vmUid);
        return await this.#checked(lease);
      },
      {
        undo: async () => {
          // It may never have come to hold the VM: then there is nothing to undo.
          const lease = await deps.leases.get(vmUid);
          if (lease?.holder?.jobUid !== job.uid) return;
          await unwound?.(this);
          await this.#release();
        },
      },
    );
  }

  /** The last step: the lease goes back, and the VM is shown as it now is. */
  async finish(): Promise<VmResult | undefined> {
    return await this.job.step('finish', async () => {
      await this.#release();
      const stored = await this.deps.vms.get(this.vmUid);
      return stored && resultOf(this.deps.vms.message(stored));
    });
  }

  /** The VM now. Throws `NotFound`. */
  async vm(): Promise<Vm> {
    return (await this.deps.projector.get(this.vmUid)).value;
  }

  /** Changes the VM while this job holds it. */
  change(change: (vm: Vm) => Vm): Promise<Stored<Vm>> {
    return this.deps.projector.change(this.vmUid, change, { by: this.job.uid });
  }

  /** The right to touch an entity. `sequence` rises along the steps, and is higher still in what undoes them. */
  fence(entityUid: string, sequence: number): Fence {
    return {
      entityUid,
      generation: BigInt(this.#generation),
      epoch: this.job.fence.epoch,
      sequence: BigInt(sequence),
    };
  }

  /** The lease's generation, if what is to be done is right for the VM as it is now. */
  async #checked(lease: OperationLease | undefined): Promise<number> {
    const generation = lease?.generation ?? 0;
    // What is expunged has no VM any more, only what is owed for it.
    if (lease?.expunged) return generation;
    const vm = await this.vm();
    checkAllowed(this.#kind, vm);
    if (this.job.input.ifNeeded === true) {
      const { clock, projector } = this.deps;
      const now = clock.now().toISOString();
      checkNeeded(this.#kind, vm, driftOf(vm, { ...(await projector.seen(vm)), now }));
    }
    return generation;
  }

  async #release(): Promise<void> {
    await this.deps.leases.release(this.vmUid, this.job.uid);
    await this.deps.projector.project(this.vmUid);
  }
}

export function resultOf(vm: VmMessage): VmResult {
  return { '@type': `type.googleapis.com/${VmMessage.$type}`, ...(VmMessage.toJSON(vm) as object) };
}

/** True where the other side could not be asked, so that nothing is known of what became of the request. */
export function isUnreachable(error: unknown): boolean {
  return error instanceof NephosError && (error.kind === 'unavailable' || error.kind === 'deadline');
}
