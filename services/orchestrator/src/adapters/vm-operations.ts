/**
 * Begins operations on VMs: takes the lease, shows it, submits the job. Owner: the orchestrator; used by the API and
 * the reconciler alike. Every step is idempotent on the job's uid. A crash after the lease leaves it held by a job
 * that is not there: `submit` makes it good, from the lease alone.
 */
import type { JobClient } from '@nephos/jobs';
import type { Job } from '@nephos/proto/nephos/jobs/v1/jobs';
import type { HeaderRecord } from '@nephos/service';
import type { OperationKind } from '../domain/vm/vm.ts';
import type { VmJob } from '../jobs/operation.ts';
import type { Projector } from '../reconcile/projector.ts';
import type { LeaseHolder } from '../records/operation.ts';
import type { LeaseRequest, OperationLeases } from './operation-leases.ts';

/** Whose VM it is. */
export type Place = Pick<HeaderRecord, 'owner' | 'zone'>;

export class VmOperations {
  readonly #jobs: JobClient;
  readonly #definitions: Readonly<Record<OperationKind, VmJob>>;
  readonly #leases: OperationLeases;
  readonly #projector: Projector;

  constructor(
    jobs: JobClient,
    definitions: Readonly<Record<OperationKind, VmJob>>,
    leases: OperationLeases,
    projector: Projector,
  ) {
    this.#jobs = jobs;
    this.#definitions = definitions;
    this.#leases = leases;
    this.#projector = projector;
  }

  /** Throws `Precondition` OPERATION_IN_PROGRESS while another operation holds the VM. */
  async begin(request: LeaseRequest, place: Place, principal?: string): Promise<Job> {
    const { holder } = await this.#leases.acquire(request);
    await this.#projector.project(request.vmUid);
    // A holder is there: it was just taken.
    return await this.submit(request.vmUid, holder as LeaseHolder, place, principal);
  }

  /** Submits the job that holds the lease; there already is success. */
  async submit(vmUid: string, holder: LeaseHolder, { owner, zone }: Place, principal?: string): Promise<Job> {
    return await this.#jobs.submit(this.#definitions[holder.kind], {
      uid: holder.jobUid,
      input: holder.input,
      owner,
      zone,
      target: `vms/${vmUid}`,
      displayName: `${holder.kind} vms/${vmUid}`,
      ...(principal !== undefined && { principal }),
    });
  }
}
