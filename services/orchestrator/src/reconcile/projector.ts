/**
 * The one writer of VMs: folds what is known into a VM's status, and carries every change of its intent, so that
 * intent and status are one write (DESIGN section 4, "a public resource is one document").
 * Invariant: what the status was folded from was read after the revision that the write is conditioned on, and every
 * change of an input is followed by `project`: so the last write always rests on the newest inputs.
 */
import { type Clock, Conflict, NotFound, touched } from '@nephos/service';
import type { Stored } from '@nephos/store';
import type { OperationLeases } from '../adapters/operation-leases.ts';
import { projectVm, type Seen, sameStatus } from '../domain/vm/project.ts';
import type { Vm } from '../domain/vm/vm.ts';
import type { AgentLinks } from '../ports.ts';
import type { VmEntities } from '../records/vm.ts';
import type { Incarnations } from './incarnations.ts';

export interface ProjectorParts {
  readonly vms: VmEntities;
  readonly incarnations: Incarnations;
  readonly leases: OperationLeases;
  readonly links: Pick<AgentLinks, 'linkNow'>;
  readonly clock: Clock;
}

export interface ChangeOptions {
  /** Only while this job holds the VM; else `Conflict` LEASE_LOST. */
  readonly by?: string;
  /** Only at this revision; else `Conflict`. */
  readonly expected?: number;
}

const attempts = 16;

export class Projector {
  readonly #parts: ProjectorParts;

  constructor(parts: ProjectorParts) {
    this.#parts = parts;
  }

  /** Throws `NotFound`. */
  async get(vmUid: string): Promise<Stored<Vm>> {
    const stored = await this.#parts.vms.get(vmUid);
    if (!stored) throw new NotFound('RESOURCE_NOT_FOUND', `there is no VM vms/${vmUid}`);
    return stored;
  }

  /** Brings the status up to date. A VM that is not there is success. */
  async project(vmUid: string): Promise<void> {
    try {
      await this.change(vmUid, (vm) => vm);
    } catch (error) {
      if (!(error instanceof NotFound)) throw error;
    }
  }

  /** Changes the intent and projects in the same write. `change` may run several times and must be pure. */
  async change(vmUid: string, change: (vm: Vm) => Vm, options: ChangeOptions = {}): Promise<Stored<Vm>> {
    for (let attempt = 1; ; attempt += 1) {
      const stored = await this.get(vmUid);
      if (options.expected !== undefined && options.expected !== stored.revision) throw stale(vmUid);
      try {
        return await this.#write(stored, change, options.by);
      } catch (error) {
        const again = error instanceof Conflict && error.reason === 'REVISION_MISMATCH' && attempt < attempts;
        if (!again) throw error;
      }
    }
  }

  /** What a VM's status is folded from. */
  async seen(vm: Vm): Promise<Seen> {
    const { incarnations, leases, links } = this.#parts;
    const [lease, incarnation, link] = await Promise.all([
      leases.get(vm.header.uid),
      vm.incarnation ? incarnations.get(vm.incarnation.uid) : undefined,
      vm.hostUid === undefined ? undefined : links.linkNow(vm.hostUid),
    ]);
    return { incarnation, holder: lease?.holder, link };
  }

  async #write(stored: Stored<Vm>, change: (vm: Vm) => Vm, by: string | undefined): Promise<Stored<Vm>> {
    const changed = change(stored.value);
    const seen = await this.seen(changed);
    if (by !== undefined && seen.holder?.jobUid !== by) {
      throw new Conflict('LEASE_LOST', `vms/${stored.id} is not held by job ${by} any more`);
    }
    const status = projectVm(changed, seen);
    if (changed === stored.value && sameStatus(status, changed.status)) return stored;
    const { vms, clock } = this.#parts;
    return await vms.modify(
      stored.id,
      () => ({ ...changed, status, header: touched(changed.header, clock) }),
      { expected: stored.revision },
    );
  }
}

function stale(vmUid: string): Conflict {
  return new Conflict('REVISION_MISMATCH', `vms/${vmUid} was changed by another write`);
}
