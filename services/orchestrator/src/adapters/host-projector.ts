/**
 * Folds what is claimed of a host into its public record. Owner: the orchestrator, each instance for the claims that
 * it changed; sole writer of `allocated` and `vmCount`. Changes of a host within a moment become one write, hence one
 * event. Invariant: the ledger is read after the revision that the write is conditioned on, so the last write rests
 * on the newest ledger, whichever instance does it. A crash in between leaves a stale figure until the instance that
 * observes, or its successor, projects all hosts again.
 */
import type { EntityCollection } from '@nephos/events';
import type { Host } from '@nephos/proto/nephos/orchestration/v1/host';
import type { Logger } from '@nephos/service';
import { type Clock, Conflict, touched } from '@nephos/service';
import type { Collection, Stored } from '@nephos/store';
import { claimedOf, type Ledger } from '../domain/capacity/ledger.ts';
import { orMissing } from '../or-missing.ts';
import type { HostRecord } from '../records/host.ts';

const settleMs = 200;

export interface HostProjectorOptions {
  readonly hosts: EntityCollection<HostRecord, Host>;
  readonly ledgers: Collection<Ledger>;
  readonly changed: (host: Stored<HostRecord>) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

export class HostProjector implements AsyncDisposable {
  readonly #options: HostProjectorOptions;
  readonly #dirty = new Set<string>();
  #timer: Disposable | undefined;
  #running: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: HostProjectorOptions) {
    this.#options = options;
  }

  touch(hostUid: string): void {
    this.#dirty.add(hostUid);
    if (this.#closed) return;
    this.#timer ??= this.#options.clock.timer(settleMs, () => {
      this.#timer = undefined;
      this.#running = this.#running.then(() => this.#project());
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#timer?.[Symbol.dispose]();
    await this.#running;
    await this.#project();
  }

  async #project(): Promise<void> {
    const hostUids = [...this.#dirty];
    this.#dirty.clear();
    await Promise.all(hostUids.map((hostUid) => this.#projectOne(hostUid)));
  }

  async #projectOne(hostUid: string): Promise<void> {
    const { changed, log } = this.#options;
    try {
      const stored = await orMissing(this.#write(hostUid));
      if (stored !== undefined) changed(stored);
    } catch (error) {
      const overtaken = error instanceof Conflict && error.reason === 'REVISION_MISMATCH';
      if (!overtaken)
        log.warn({ err: error, host: hostUid }, 'a host could not be projected; it is tried again');
      this.touch(hostUid);
    }
  }

  async #write(hostUid: string): Promise<Stored<HostRecord> | undefined> {
    const { hosts, ledgers, clock } = this.#options;
    const before = await hosts.get(hostUid);
    const ledger = before && (await ledgers.get(hostUid))?.value;
    if (ledger === undefined) return undefined;
    const allocated = claimedOf(ledger);
    const vmCount = Object.keys(ledger.claims).length;
    const expected = before?.revision ?? 0;
    const change = (host: HostRecord) => {
      const same =
        host.vmCount === vmCount &&
        host.allocated.vcpus === allocated.vcpus &&
        host.allocated.memoryBytes === allocated.memoryBytes &&
        host.allocated.diskBytes === allocated.diskBytes;
      return same ? undefined : { ...host, allocated, vmCount, header: touched(host.header, clock) };
    };
    return await hosts.modify(hostUid, change, { expected });
  }
}
