/**
 * Claims on hosts, durable. Owner: the orchestrator. One document a host holds all its claims, so that a claim
 * is one compare-and-set; a pointer a VM remembers where its claim is (records/capacity.ts says what a crash
 * between the two leaves).
 */
import { AlreadyExists, Conflict, Exhausted, NotFound } from '@nephos/service';
import type { Collection, Stored } from '@nephos/store';
import { claim, type Ledger, release } from '../domain/capacity/ledger.ts';
import type { Amounts } from '../domain/planner/host-view.ts';
import { orMissing } from '../or-missing.ts';
import { pagesOf } from '../pages-of.ts';
import type { Capacity, CapacityClaim } from '../ports.ts';
import type { ClaimPointer } from '../records/capacity.ts';

const words = { vcpus: 'virtual CPUs', memoryBytes: 'memory', diskBytes: 'disk' } as const;

export class StoredCapacity implements Capacity {
  readonly #ledgers: Collection<Ledger>;
  readonly #pointers: Collection<ClaimPointer>;
  readonly #changed: (hostUid: string, ledger: Stored<Ledger>) => void;

  /** `changed` hears of each ledger written. */
  constructor(
    ledgers: Collection<Ledger>,
    pointers: Collection<ClaimPointer>,
    changed: (hostUid: string, ledger: Stored<Ledger>) => void,
  ) {
    this.#ledgers = ledgers;
    this.#pointers = pointers;
    this.#changed = changed;
  }

  /** Claims for a VM that holds nothing yet; false where the host has not the room (any more), or is gone. */
  async claim(hostUid: string, wanted: CapacityClaim): Promise<boolean> {
    await this.#point(wanted.vmUid, hostUid);
    const lacks = await orMissing(this.#set(hostUid, wanted).then((lack) => lack ?? 'nothing'));
    if (lacks !== 'nothing') return false;
    // An executor that lost its job may have pointed elsewhere meanwhile: a claim without a pointer is found by nobody.
    if ((await this.#pointers.get(wanted.vmUid))?.value.hostUid === hostUid) return true;
    await this.#drop(hostUid, wanted.vmUid);
    throw overtaken(wanted.vmUid);
  }

  async resize(hostUid: string, wanted: CapacityClaim): Promise<void> {
    const { vmUid } = wanted;
    if ((await this.#ledgers.get(hostUid))?.value.claims[vmUid] === undefined) {
      throw new NotFound('RESOURCE_NOT_FOUND', `vms/${vmUid} holds nothing of hosts/${hostUid}`);
    }
    const lacks = await this.#set(hostUid, wanted);
    if (lacks === undefined) return;
    throw new Exhausted('CAPACITY_EXHAUSTED', `the host has not enough ${words[lacks]} left`, {
      metadata: { host: `hosts/${hostUid}`, lacks: words[lacks] },
    });
  }

  /** Throws `Conflict` when the claim moved to another host meanwhile. */
  async release(vmUid: string): Promise<void> {
    const pointer = await this.#pointers.get(vmUid);
    if (pointer === undefined) return;
    await this.#drop(pointer.value.hostUid, vmUid);
    await orMissing(this.#pointers.remove(vmUid, pointer.revision));
  }

  async releaseOn(hostUid: string, vmUid: string): Promise<void> {
    const pointer = await this.#pointers.get(vmUid);
    if (pointer?.value.hostUid === hostUid) await this.release(vmUid);
    else await this.#drop(hostUid, vmUid);
  }

  async hostOf(vmUid: string): Promise<string | undefined> {
    const pointer = await this.#pointers.get(vmUid);
    if (pointer === undefined) return undefined;
    const ledger = await this.#ledgers.get(pointer.value.hostUid);
    return ledger?.value.claims[vmUid] === undefined ? undefined : pointer.value.hostUid;
  }

  async *all(): AsyncIterable<CapacityClaim & { readonly hostUid: string }> {
    for await (const page of pagesOf(this.#ledgers)) {
      for (const { id, value } of page) {
        for (const [vmUid, amounts] of Object.entries(value.claims)) yield { hostUid: id, vmUid, ...amounts };
      }
    }
  }

  async #point(vmUid: string, hostUid: string): Promise<void> {
    const pointer = await this.#pointers.get(vmUid);
    if (pointer === undefined) {
      await this.#pointers.insert(vmUid, { hostUid }).catch((error: unknown) => {
        throw error instanceof AlreadyExists ? overtaken(vmUid) : error;
      });
    } else if (pointer.value.hostUid !== hostUid) {
      await this.#drop(pointer.value.hostUid, vmUid);
      await this.#pointers.update(vmUid, pointer.revision, { hostUid });
    }
  }

  /** What lacks, or `undefined` once the VM holds just that. */
  async #set(hostUid: string, { vmUid, vcpus, memoryBytes, diskBytes }: CapacityClaim) {
    let lacks: keyof Amounts | undefined;
    const stored = await this.#ledgers.modify(hostUid, ({ value }) => {
      const result = claim(value, vmUid, { vcpus, memoryBytes, diskBytes });
      lacks = result.kind === 'refused' ? result.lacks : undefined;
      return result.kind === 'claimed' ? { value: result.ledger } : undefined;
    });
    this.#changed(hostUid, stored);
    return lacks;
  }

  async #drop(hostUid: string, vmUid: string): Promise<void> {
    const stored = await orMissing(
      this.#ledgers.modify(hostUid, ({ value }) => {
        const left = release(value, vmUid);
        return left === undefined ? undefined : { value: left };
      }),
    );
    if (stored !== undefined) this.#changed(hostUid, stored);
  }
}

function overtaken(vmUid: string): Conflict {
  return new Conflict('REVISION_MISMATCH', `somebody else places vms/${vmUid} at the same time`);
}
