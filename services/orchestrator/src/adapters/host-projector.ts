/**
 * Folds what is claimed of a host into its public record. Owner: the orchestrator; sole writer of `allocated`
 * and `vmCount`. Changes of a host within a moment become one write, hence one event. A crash in between leaves
 * a stale figure until the next start projects all hosts again.
 */
import type { EntityCollection } from '@nephos/events';
import type { Host } from '@nephos/proto/nephos/orchestration/v1/host';
import type { Logger } from '@nephos/service';
import { type Clock, NotFound, touched } from '@nephos/service';
import type { Stored } from '@nephos/store';
import { claimedOf, type Ledger } from '../domain/capacity/ledger.ts';
import type { HostRecord } from '../records/host.ts';

const settleMs = 200;

export interface HostProjectorOptions {
  readonly hosts: EntityCollection<HostRecord, Host>;
  readonly ledgerOf: (hostUid: string) => Ledger | undefined;
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
    const { hosts, ledgerOf, clock, changed, log } = this.#options;
    const ledger = ledgerOf(hostUid);
    if (ledger === undefined) return;
    const allocated = claimedOf(ledger);
    const vmCount = Object.keys(ledger.claims).length;
    try {
      const stored = await hosts.modify(hostUid, (host) => {
        const same =
          host.vmCount === vmCount &&
          host.allocated.vcpus === allocated.vcpus &&
          host.allocated.memoryBytes === allocated.memoryBytes &&
          host.allocated.diskBytes === allocated.diskBytes;
        return same ? undefined : { ...host, allocated, vmCount, header: touched(host.header, clock) };
      });
      changed(stored);
    } catch (error) {
      if (error instanceof NotFound) return;
      log.warn({ err: error, host: hostUid }, 'a host could not be projected; it is tried again');
      this.touch(hostUid);
    }
  }
}
