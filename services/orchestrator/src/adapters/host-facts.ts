/**
 * Writes what agents tell of hosts into the host's record and ledger. Owner: agent-links.ts. Each write is a
 * compare-and-set that changes only fields of its own; a repeat writes nothing, hence makes no event. Of a host that
 * was deleted meanwhile nothing is written.
 * Fencing: a host remembers the highest term that observed it; what an earlier term still says of it is refused.
 */
import type { EntityCollection } from '@nephos/events';
import type { Host } from '@nephos/proto/nephos/orchestration/v1/host';
import type { HostCapabilities } from '@nephos/proto/nephos/plugin/v1/hypervisor';
import { type Clock, Conflict, touched } from '@nephos/service';
import type { Collection } from '@nephos/store';
import type { Ledger } from '../domain/capacity/ledger.ts';
import { orMissing } from '../or-missing.ts';
import type { HostLink, Term, UnmanagedMachines } from '../ports.ts';
import type { HostFacts, HostRecord } from '../records/host.ts';
import type { Fleet } from './fleet.ts';

const minuteMs = 60_000;

/** What there is to say of a host's link. */
export interface LinkNews {
  readonly link: HostLink;
  readonly newSession: boolean;
  /** How long ago its agent was last heard. */
  readonly silentMs: number;
}

export class HostFactsWriter implements UnmanagedMachines {
  readonly #hosts: EntityCollection<HostRecord, Host>;
  readonly #ledgers: Collection<Ledger>;
  readonly #fleet: Fleet;
  readonly #clock: Clock;

  constructor(
    hosts: EntityCollection<HostRecord, Host>,
    ledgers: Collection<Ledger>,
    fleet: Fleet,
    clock: Clock,
  ) {
    this.#hosts = hosts;
    this.#ledgers = ledgers;
    this.#fleet = fleet;
    this.#clock = clock;
  }

  /** Throws `Conflict` LEASE_LOST, here and below, once the term is over. */
  async write(hostUid: string, capabilities: HostCapabilities, term: Term): Promise<void> {
    const facts = factsOf(capabilities);
    // The record first: where a later term has been, the ledger is left alone too.
    await this.#change(hostUid, (host) => {
      checkTerm(host, term);
      return sameFields(host.facts, facts) ? undefined : { ...host, facts };
    });
    const ledger = await orMissing(
      this.#ledgers.modify(hostUid, ({ value }) => {
        checkOngoing(term);
        const same = sameFields(value.capacity, facts.capacity);
        return same ? undefined : { value: { ...value, capacity: facts.capacity } };
      }),
    );
    if (ledger !== undefined) this.#fleet.ledgerChanged(hostUid, ledger);
  }

  async link(hostUid: string, { link, newSession, silentMs }: LinkNews, term: Term): Promise<void> {
    const heard = this.#clock.now().getTime() - silentMs;
    const lastSeenTime = new Date(Math.floor(heard / minuteMs) * minuteMs).toISOString();
    await this.#change(hostUid, (host) => {
      checkTerm(host, term);
      if (host.link === link && !newSession) return undefined;
      return {
        ...host,
        link,
        observerEpoch: term.epoch,
        sessionEpoch: host.sessionEpoch + (newSession ? 1 : 0),
        ...((link === 'up' || host.lastSeenTime !== undefined) && { lastSeenTime }),
      };
    });
  }

  async report(hostUid: string, machines: HostRecord['unmanaged']): Promise<void> {
    await this.#change(hostUid, (host) =>
      JSON.stringify(host.unmanaged) === JSON.stringify(machines)
        ? undefined
        : { ...host, unmanaged: machines },
    );
  }

  async #change(hostUid: string, change: (host: HostRecord) => HostRecord | undefined): Promise<void> {
    const stored = await orMissing(
      this.#hosts.modify(hostUid, (host) => {
        const next = change(host);
        return next && { ...next, header: touched(next.header, this.#clock) };
      }),
    );
    if (stored !== undefined) this.#fleet.hostChanged(stored);
  }
}

function factsOf(capabilities: HostCapabilities): HostFacts {
  const { cpus, memoryBytes, diskBytes, hypervisor, accelerator, acceleratorReason, architecture } =
    capabilities;
  return {
    capacity: { vcpus: cpus, memoryBytes: Number(memoryBytes), diskBytes: Number(diskBytes) },
    hypervisor,
    accelerator: acceleratorReason === '' ? accelerator : `${accelerator}: ${acceleratorReason}`,
    architecture,
  };
}

function checkTerm({ observerEpoch = 0 }: HostRecord, term: Term): void {
  if (observerEpoch > term.epoch) throw termOver();
  checkOngoing(term);
}

/** Throws `Conflict` LEASE_LOST once the term is over: asked right before a write. */
export function checkOngoing({ signal, isHeld }: Term): void {
  if (signal.aborted || !isHeld()) throw termOver();
}

function termOver(): Conflict {
  return new Conflict('LEASE_LOST', 'another instance observes the hosts');
}

function sameFields(a: object, b: object): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
