/**
 * The right to work on a VM, as stored: one record a VM, under the VM's uid. Writer: adapters/operation-leases.ts.
 * `generation` rises by one with each operation that takes the lease, and never falls: it is the first part of the
 * fence that agents keep. The record outlives the VM: it is the proof that a machine found later was ours.
 */
import { defineCollection } from '@nephos/store';
import type { OperationKind } from '../domain/vm/vm.ts';

export interface OperationLease {
  readonly generation: number;
  readonly holder?: LeaseHolder;
  /** Set when the VM was expunged. */
  readonly expunged?: ExpungedVm;
}

export interface LeaseHolder {
  readonly jobUid: string;
  readonly kind: OperationKind;
  /** The job's input, for whoever has to submit it after a crash. */
  readonly input: OperationInput;
  /** RFC 3339, for people. */
  readonly since: string;
}

/** What every job on a VM is told; the rest it reads from the records. */
export interface OperationInput {
  readonly vmUid: string;
  /** The reconciler's own doing: refused unless the VM, once held, still needs just this. */
  readonly ifNeeded?: boolean;
  /** How often in a row it had to be started by itself. */
  readonly streak?: number;
  /** `vm.stop`: milliseconds that the guest may take; 0 cuts its power at once. */
  readonly graceMs?: number;
}

export interface ExpungedVm {
  /** Where it was last; empty if nowhere. */
  readonly hostUid: string;
  readonly volumeUid: string;
  readonly owner: string;
  readonly zone: string;
  /** RFC 3339. */
  readonly at: string;
  /** Equal to `hostUid` while that host still has to be rid of it. */
  readonly owedBy?: string;
}

export const operationCollection = defineCollection<OperationLease>({
  name: 'operations',
  schemaVersion: 1,
  indexes: {
    held: { fields: ['holder.jobUid'] },
    owed: { fields: ['expunged.owedBy'] },
    buried: { fields: ['expunged.at'] },
  },
});
