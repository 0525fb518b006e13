/**
 * Takes leases back from jobs that are over, and submits the jobs that a crash kept from being submitted. Owner: the
 * orchestrator. With it no lease outlives its job, however the job ended; a create that was cancelled before it began
 * becomes `failed` here, for no step of it ran that could say so.
 */
import { isOver, type JobClient } from '@nephos/jobs';
import { type Job, JobState } from '@nephos/proto/nephos/jobs/v1/jobs';
import { type Clock, fromStatusMessage, type Logger } from '@nephos/service';
import type { Stored } from '@nephos/store';
import type { OperationLeases } from '../adapters/operation-leases.ts';
import type { VmOperations } from '../adapters/vm-operations.ts';
import { moveTo } from '../domain/vm/phase.ts';
import type { Failure } from '../domain/vm/vm.ts';
import { orMissing } from '../or-missing.ts';
import type { OperationLease } from '../records/operation.ts';
import type { VmEntities } from '../records/vm.ts';
import type { Projector } from './projector.ts';

export interface LeaseSweeperParts {
  readonly vms: VmEntities;
  readonly leases: OperationLeases;
  readonly projector: Projector;
  readonly operations: VmOperations;
  readonly jobs: Pick<JobClient, 'get'>;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A lease younger than this is left to its job, milliseconds. */
const graceMs = 10_000;

export class LeaseSweeper {
  readonly #parts: LeaseSweeperParts;
  /** When each holder was first seen, monotonic milliseconds. */
  #seen = new Map<string, number>();

  constructor(parts: LeaseSweeperParts) {
    this.#parts = parts;
  }

  async sweep(signal?: AbortSignal): Promise<void> {
    const { clock, leases, log } = this.#parts;
    const seen = new Map<string, number>();
    for await (const stored of leases.held()) {
      if (signal?.aborted) return;
      const jobUid = stored.value.holder?.jobUid ?? '';
      const since = this.#seen.get(jobUid) ?? clock.monotonic();
      seen.set(jobUid, since);
      if (clock.monotonic() - since < graceMs) continue;
      await this.#look(stored).catch((error: unknown) => {
        log.warn({ err: error, vm: stored.id, job: jobUid }, 'a lease could not be looked at');
      });
    }
    this.#seen = seen;
  }

  /** Takes the lease back if the job is over. */
  async settle(vmUid: string, job: Job): Promise<void> {
    if (!isOver(job.state)) return;
    const { leases, projector } = this.#parts;
    const jobUid = job.header?.uid ?? '';
    const vm = await orMissing(projector.get(vmUid));
    if (vm?.value.phase === 'creating' && vm.value.createJob === jobUid && job.state !== JobState.SUCCEEDED) {
      const failure = failureOf(job);
      await projector.change(vmUid, (now) => ({ ...moveTo(now, 'failed'), failure }), { by: jobUid });
    }
    await leases.release(vmUid, jobUid);
    await projector.project(vmUid);
  }

  async #look({ id: vmUid, value }: Stored<OperationLease>): Promise<void> {
    const { jobs, leases, log, operations, vms } = this.#parts;
    const { holder, expunged } = value;
    if (!holder) return;
    const job = await orMissing(jobs.get(holder.jobUid));
    if (job) return await this.settle(vmUid, job);
    const place = expunged ?? (await vms.get(vmUid))?.value.header;
    if (!place) return await leases.forget(vmUid, holder.jobUid);
    log.info({ vm: vmUid, job: holder.jobUid }, 'submitting a job that a crash kept from being submitted');
    await operations.submit(vmUid, holder, place);
  }
}

function failureOf({ error }: Job): Failure {
  if (!error) return { reason: 'JOB_CANCELLED', message: 'the operation was cancelled' };
  const { reason, message } = fromStatusMessage(error);
  return { reason, message };
}
