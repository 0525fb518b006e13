/**
 * Claims on hosts, durable. Owner: the orchestrator. One document a host holds all its claims, so that a claim
 * is one compare-and-set; a pointer a VM remembers where its claim is (records/capacity.ts says what a crash
 * between the two leaves).
 */
import { Exhausted, NotFound } from '@nephos/service';
import type { Collection } from '@nephos/store';
import { claim, type Ledger, release } from '../domain/capacity/ledger.ts';
import type { Amounts } from '../domain/planner/host-view.ts';
import type { Capacity, CapacityClaim } from '../ports.ts';
import type { ClaimPointer } from '../records/capacity.ts';

const words = { vcpus: 'virtual CPUs', memoryBytes: 'memory', diskBytes: 'disk' } as const;
const pageSize = 200;

export class StoredCapacity implements Capacity {
  readonly #ledgers: Collection<Ledger>;
  readonly #pointers: Collection<ClaimPointer>;
  readonly #changed: (hostUid: string, ledger: Ledger) => void;

  /** `changed` hears of each ledger written. */
  constructor(
    ledgers: Collection<Ledger>,
    pointers: Collection<ClaimPointer>,
    changed: (hostUid: string, ledger: Ledger) => void,
  ) {
    this.#ledgers = ledgers;
    this.#pointers = pointers;
    this.#changed = changed;
  }

  /** Claims for a VM that holds nothing yet; false where the host has not the room (any more). */
  async claim(hostUid: string, wanted: CapacityClaim): Promise<boolean> {
    await this.#point(wanted.vmUid, hostUid);
    return (await this.#set(hostUid, wanted)) === undefined;
  }

  async resize(hostUid: string, wanted: CapacityClaim): Promise<void> {
    const lacks = await this.#set(hostUid, wanted);
    if (lacks === undefined) return;
    throw new Exhausted('CAPACITY_EXHAUSTED', `the host has not enough ${words[lacks]} left`, {
      metadata: { host: `hosts/${hostUid}`, lacks: words[lacks] },
    });
  }

  async release(vmUid: string): Promise<void> {
    const pointer = await this.#pointers.get(vmUid);
    if (pointer === undefined) return;
    await this.#drop(pointer.value.hostUid, vmUid);
    await this.#pointers.remove(vmUid).catch((error: unknown) => {
      if (!(error instanceof NotFound)) throw error;
    });
  }

  async hostOf(vmUid: string): Promise<string | undefined> {
    const pointer = await this.#pointers.get(vmUid);
    if (pointer === undefined) return undefined;
    const ledger = await this.#ledgers.get(pointer.value.hostUid);
    return ledger?.value.claims[vmUid] === undefined ? undefined : pointer.value.hostUid;
  }

  async *all(): AsyncIterable<CapacityClaim & { readonly hostUid: string }> {
    let cursor: string | undefined;
    do {
      const page = await this.#ledgers.find({ limit: pageSize, ...(cursor !== undefined && { cursor }) });
      for (const { id, value } of page.items) {
        for (const [vmUid, amounts] of Object.entries(value.claims)) yield { hostUid: id, vmUid, ...amounts };
      }
      cursor = page.nextCursor;
    } while (cursor !== undefined);
  }

  async #point(vmUid: string, hostUid: string): Promise<void> {
    const pointer = await this.#pointers.get(vmUid);
    if (pointer === undefined) {
      await this.#pointers.insert(vmUid, { hostUid });
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
    this.#changed(hostUid, stored.value);
    return lacks;
  }

  async #drop(hostUid: string, vmUid: string): Promise<void> {
    try {
      const stored = await this.#ledgers.modify(hostUid, ({ value }) => {
        const left = release(value, vmUid);
        return left === undefined ? undefined : { value: left };
      });
      this.#changed(hostUid, stored.value);
    } catch (error) {
      if (!(error instanceof NotFound)) throw error;
    }
  }
}
