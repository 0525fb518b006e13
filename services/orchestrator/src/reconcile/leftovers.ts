/**
 * Finds what an executor that had lost its job may still have written: room claimed for a VM that holds none there,
 * a volume's record without a VM. Owner: the orchestrator. Order matters: first what is held, then the leases, then
 * the VMs, so that whatever an operation is about to say of its VM is either still under its lease or said already.
 */
import type { Clock, Logger } from '@nephos/service';
import type { Stored } from '@nephos/store';
import type { OperationLeases } from '../adapters/operation-leases.ts';
import type { Vm } from '../domain/vm/vm.ts';
import type { Capacity, CapacityClaim } from '../ports.ts';
import type { VmEntities } from '../records/vm.ts';
import type { VolumeEntities } from '../records/volume.ts';

export interface LeftoverParts {
  readonly vms: VmEntities;
  readonly volumes: VolumeEntities;
  readonly leases: OperationLeases;
  readonly capacity: Pick<Capacity, 'all' | 'releaseOn'>;
  readonly clock: Clock;
  readonly log: Logger;
}

const chunk = 200;
/** How long the proof that a machine was ours is kept after the VM was expunged, milliseconds. */
const buriedMs = 30 * 24 * 60 * 60_000;

type Held = CapacityClaim & { readonly hostUid: string };

export class Leftovers {
  readonly #parts: LeftoverParts;

  constructor(parts: LeftoverParts) {
    this.#parts = parts;
  }

  async sweep(signal?: AbortSignal): Promise<void> {
    await this.#claims(signal);
    for (const state of ['allocated', 'expunged'] as const) await this.#volumes(state);
    const { clock, leases } = this.#parts;
    await leases.forgetBuried(new Date(clock.now().getTime() - buriedMs).toISOString());
  }

  async #claims(signal: AbortSignal | undefined): Promise<void> {
    let claims: Held[] = [];
    for await (const claim of this.#parts.capacity.all()) {
      if (signal?.aborted) return;
      claims.push(claim);
      if (claims.length < chunk) continue;
      await this.#checkClaims(claims);
      claims = [];
    }
    await this.#checkClaims(claims);
  }

  async #checkClaims(claims: readonly Held[]): Promise<void> {
    const { capacity, log } = this.#parts;
    const vms = await this.#vmsNobodyHolds(claims.map(({ vmUid }) => vmUid));
    for (const { vmUid, hostUid } of claims) {
      const vm = vms.get(vmUid);
      if (vm === 'held' || vm?.value.hostUid === hostUid) continue;
      log.warn({ vm: vmUid, host: hostUid }, 'room claimed for a VM that is not there');
      await capacity.releaseOn(hostUid, vmUid);
    }
  }

  async #volumes(state: 'allocated' | 'expunged'): Promise<void> {
    const { volumes, log } = this.#parts;
    const { items } = await volumes.find({ where: { state }, limit: chunk });
    const vms = await this.#vmsNobodyHolds(items.map(({ value }) => value.vm.slice('vms/'.length)));
    for (const { id, revision, value } of items) {
      const vm = vms.get(value.vm.slice('vms/'.length));
      if (vm === 'held' || (vm && vm.value.failure === undefined)) continue;
      log.warn({ volume: id, vm: value.vm }, 'the record of a volume of which nothing is left');
      await volumes.remove(id, { expected: revision });
    }
  }

  async #vmsNobodyHolds(vmUids: readonly string[]): Promise<Map<string, Stored<Vm> | 'held'>> {
    const { leases, vms } = this.#parts;
    const found = new Map<string, Stored<Vm> | 'held'>();
    if (vmUids.length === 0) return found;
    const held = (await leases.getMany(vmUids)).filter(({ value }) => value.holder);
    for (const stored of await vms.getMany(vmUids)) found.set(stored.id, stored);
    for (const { id } of held) found.set(id, 'held');
    return found;
  }
}
