/**
 * Leases on VMs: one operation at a time, each with a generation of its own (DESIGN section 8, fencing).
 * Owner: the orchestrator; sole writer of the operation records. Every change is a compare-and-set. A crash leaves a
 * lease with its holder: the holder's job goes on with it, and the reconciler takes it back from a job that is over.
 */
import { AlreadyExists, type Clock, Conflict, NotFound, Precondition } from '@nephos/service';
import type { Collection, Query, Stored } from '@nephos/store';
import type { OperationKind } from '../domain/vm/vm.ts';
import { pagesOf } from '../pages-of.ts';
import type { ExpungedVm, OperationInput, OperationLease } from '../records/operation.ts';

/** Who wants to work on a VM. `jobUid` may depend on the generation that it will get. */
export interface LeaseRequest {
  readonly vmUid: string;
  readonly kind: OperationKind;
  readonly jobUid: string | ((generation: number) => string);
  readonly input: OperationInput;
}

export class OperationLeases {
  readonly #leases: Collection<OperationLease>;
  readonly #clock: Clock;

  constructor(leases: Collection<OperationLease>, clock: Clock) {
    this.#leases = leases;
    this.#clock = clock;
  }

  async get(vmUid: string): Promise<OperationLease | undefined> {
    return (await this.#leases.get(vmUid))?.value;
  }

  getMany(vmUids: readonly string[]): Promise<Stored<OperationLease>[]> {
    return this.#leases.getMany(vmUids);
  }

  /**
   * Takes the lease; held already by the same job is success. Throws `Precondition` OPERATION_IN_PROGRESS while
   * another holds it.
   */
  async acquire(request: LeaseRequest): Promise<OperationLease> {
    const { vmUid } = request;
    try {
      const first = { generation: 1, holder: this.#holder(request, 1) };
      return (await this.#leases.insert(vmUid, first)).value;
    } catch (error) {
      if (!(error instanceof AlreadyExists)) throw error;
    }
    const stored = await this.#leases.modify(vmUid, ({ value }) => {
      const generation = value.generation + 1;
      const wanted = this.#holder(request, generation);
      if (value.holder) {
        if (value.holder.jobUid === request.jobUid) return undefined;
        throw inProgress(vmUid, value.holder.jobUid);
      }
      return { value: { ...value, generation, holder: wanted } };
    });
    return stored.value;
  }

  /** Throws `Precondition` OPERATION_IN_PROGRESS while any job holds the VM. */
  async checkFree(vmUid: string): Promise<void> {
    const holder = (await this.get(vmUid))?.holder;
    if (holder) throw inProgress(vmUid, holder.jobUid);
  }

  /** Gives it back. Not held by this job is success. */
  async release(vmUid: string, jobUid: string): Promise<void> {
    await this.#change(vmUid, (lease) => {
      if (lease.holder?.jobUid !== jobUid) return undefined;
      const { holder: _over, ...rest } = lease;
      return rest;
    });
  }

  /** Takes back a lease whose VM never came to be. */
  async forget(vmUid: string, jobUid: string): Promise<void> {
    const stored = await this.#leases.get(vmUid);
    if (stored?.value.holder?.jobUid !== jobUid) return;
    await this.#leases.remove(vmUid, stored.revision).catch(ignoreChanged);
  }

  /** Writes down that the VM is no more, and what is still owed to its host. */
  async bury(vmUid: string, expunged: ExpungedVm): Promise<void> {
    await this.#change(vmUid, (lease) => ({ ...lease, expunged }));
  }

  /** Every lease that is held, each as it is when it is come to. */
  held(): AsyncIterable<Stored<OperationLease>> {
    return this.#each({ orderBy: 'held' });
  }

  /** Expunged VMs that some host still has to be rid of. */
  owed(): AsyncIterable<Stored<OperationLease>> {
    return this.#each({ orderBy: 'owed' });
  }

  /** Forgets VMs that were expunged before `at` and of which nothing is owed. */
  async forgetBuried(at: string): Promise<void> {
    for await (const { id, revision, value } of this.#each({ where: { 'expunged.at': { lt: at } } })) {
      if (value.holder || value.expunged?.owedBy !== undefined) continue;
      await this.#leases.remove(id, revision).catch(ignoreChanged);
    }
  }

  #holder({ jobUid, kind, input }: LeaseRequest, generation: number) {
    const uid = typeof jobUid === 'string' ? jobUid : jobUid(generation);
    return { jobUid: uid, kind, input, since: this.#clock.now().toISOString() };
  }

  async #change(vmUid: string, change: (lease: OperationLease) => OperationLease | undefined): Promise<void> {
    try {
      await this.#leases.modify(vmUid, ({ value }) => {
        const next = change(value);
        return next && { value: next };
      });
    } catch (error) {
      if (!(error instanceof NotFound)) throw error;
    }
  }

  async *#each(query: Pick<Query, 'orderBy' | 'where'>) {
    for await (const page of pagesOf(this.#leases, query)) yield* page;
  }
}

function inProgress(vmUid: string, jobUid: string): Precondition {
  const subject = `vms/${vmUid}`;
  const description = `operations/${jobUid} is under way: wait for it or cancel it`;
  return new Precondition('OPERATION_IN_PROGRESS', `${subject}: ${description}`, {
    metadata: { operation: `operations/${jobUid}` },
    preconditions: [{ type: 'OPERATION_IN_PROGRESS', subject, description }],
  });
}

/** Somebody else dealt with the record first. */
function ignoreChanged(error: unknown): void {
  if (!(error instanceof Conflict || error instanceof NotFound)) throw error;
}
