/**
 * Turns what agents see into facts, and facts into status. Owner: the orchestrator; listens to the agent links.
 * Rules (DESIGN section 9): a report is believed; what a whole picture lacks is asked for by name before it is taken
 * for gone; a machine that nothing here proves to be ours is only reported, never touched. A message is dealt with
 * before the stream's cursor moves on, so a crash leaves nothing unseen.
 */
import {
  type MachineObservation,
  MachineObservation_State as Seen,
} from '@nephos/proto/nephos/plugin/v1/hypervisor';
import type { Clock, Logger } from '@nephos/service';
import type { OperationLeases } from '../adapters/operation-leases.ts';
import type { AgentLinks, HostLink, HostObservations, UnmanagedMachines } from '../ports.ts';
import type { VmEntities } from '../records/vm.ts';
import { type Incarnations, sightingOf } from './incarnations.ts';
import type { Projector } from './projector.ts';

export interface ObservationParts {
  readonly vms: VmEntities;
  readonly incarnations: Incarnations;
  readonly leases: OperationLeases;
  readonly projector: Projector;
  readonly links: AgentLinks;
  readonly unmanaged: UnmanagedMachines;
  readonly clock: Clock;
  readonly log: Logger;
  /** A VM that the reconciler should look at now rather than at its next pass. */
  readonly nudge: (vmUid: string) => void;
}

/** Machines dealt with at a time. */
const breadth = 64;
const askMs = 10_000;

export class Observations implements Disposable {
  readonly #parts: ObservationParts;
  readonly #listeners: readonly Disposable[];
  /** Machines that are not ours, by host: the port takes them all at once. */
  readonly #strangers = new Map<string, Map<string, string>>();

  constructor(parts: ObservationParts) {
    this.#parts = parts;
    this.#listeners = [
      parts.links.onObservations((seen) => this.seen(seen)),
      parts.links.onLink((hostUid, link) => this.#linkChanged(hostUid, link)),
    ];
  }

  [Symbol.dispose](): void {
    for (const listener of this.#listeners) listener[Symbol.dispose]();
  }

  /** Deals with what was seen on one host. */
  async seen(seen: HostObservations): Promise<void> {
    const { hostUid, machines, complete, stillMine } = seen;
    const before = this.#strangers.get(hostUid) ?? new Map<string, string>();
    const strangers = complete ? new Map<string, string>() : new Map(before);
    await inChunks(machines, async (machine) => {
      const stranger = machine.managed ? await this.#ours(hostUid, machine, stillMine) : machine.message;
      if (stranger === undefined || machine.state === Seen.GONE) strangers.delete(machine.vmUid);
      else strangers.set(machine.vmUid, stranger);
    });
    if (complete) await this.#missing(seen);
    this.#strangers.set(hostUid, strangers);
    if (!complete && sameEntries(before, strangers)) return;
    const list = [...strangers].map(([uid, message]) => ({ uid, message }));
    stillMine();
    await this.#parts.unmanaged.report(hostUid, list);
  }

  /** Undefined when it is ours; else what to say of it. */
  async #ours(
    hostUid: string,
    machine: MachineObservation,
    stillMine: () => void,
  ): Promise<string | undefined> {
    const { incarnations, projector, nudge } = this.#parts;
    const { vmUid, incarnationUid } = machine;
    if (incarnationUid !== '' && (await incarnations.get(incarnationUid))) {
      if (await incarnations.saw(incarnationUid, sightingOf(machine), stillMine)) {
        await projector.project(vmUid);
        nudge(vmUid);
      }
      return undefined;
    }
    if (machine.state === Seen.GONE) return undefined;
    stillMine();
    return await this.#stray(hostUid, machine);
  }

  /** A machine of the platform's making, of a run that nothing is known of. */
  async #stray(hostUid: string, { vmUid, incarnationUid }: MachineObservation): Promise<string | undefined> {
    const { vms, leases, projector, clock, log, nudge } = this.#parts;
    const lease = await leases.get(vmUid);
    if (!lease) return 'started by this platform or another like it, and no record of it is left';
    if (lease.holder) return undefined;
    log.warn({ host: hostUid, vm: vmUid, incarnation: incarnationUid }, 'a machine that should not be there');
    if (lease.expunged) {
      await leases.bury(vmUid, { ...lease.expunged, at: clock.now().toISOString(), owedBy: hostUid });
    }
    const vm = await vms.get(vmUid);
    const orphaned = vm && vm.value.hostUid === undefined && vm.value.failure !== undefined;
    if (orphaned) await projector.change(vmUid, (current) => ({ ...current, hostUid }));
    nudge(vmUid);
    return undefined;
  }

  /** What the whole picture lacks is asked for by name: a start may have come between. */
  async #missing({ hostUid, machines, stillMine }: HostObservations): Promise<void> {
    const { incarnations, leases } = this.#parts;
    const shown = new Set(machines.map(({ incarnationUid }) => incarnationUid));
    for await (const { id, value } of incarnations.aliveOn(hostUid)) {
      if (shown.has(id)) continue;
      const asked = value.state === 'starting' && (await leases.get(value.vmUid))?.holder !== undefined;
      if (!asked) await this.#askFor(hostUid, id, value.vmUid, stillMine);
    }
  }

  async #askFor(hostUid: string, runUid: string, vmUid: string, stillMine: () => void): Promise<void> {
    const { incarnations, links, log, nudge, projector } = this.#parts;
    try {
      const { client, host } = await links.hypervisor(hostUid);
      const { observation } = await client.getMachine({ host, vmUid }, { deadlineMs: askMs });
      const mine = observation?.incarnationUid === runUid && observation.state !== Seen.GONE;
      const sighting = mine
        ? sightingOf(observation)
        : ({ state: 'gone', cause: 'lost', message: observation?.message ?? '' } as const);
      if (!(await incarnations.saw(runUid, sighting, stillMine))) return;
      await projector.project(vmUid);
      nudge(vmUid);
    } catch (error) {
      // No answer proves nothing: the next whole picture asks again.
      log.warn(
        { err: error, host: hostUid, vm: vmUid },
        'a machine that the picture lacks could not be asked for',
      );
    }
  }

  async #linkChanged(hostUid: string, link: HostLink): Promise<void> {
    const { vms, projector, nudge } = this.#parts;
    let cursor: string | undefined;
    do {
      const where = { 'status.host': `hosts/${hostUid}` };
      const page = await vms.find({ where, limit: 500, ...(cursor && { cursor }) });
      await inChunks(page.items, ({ id }) => projector.project(id));
      if (link === 'up') for (const { id } of page.items) nudge(id);
      cursor = page.nextCursor;
    } while (cursor !== undefined);
  }
}

async function inChunks<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let from = 0; from < items.length; from += breadth) {
    await Promise.all(items.slice(from, from + breadth).map(work));
  }
}

function sameEntries(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): boolean {
  return a.size === b.size && [...a].every(([key, value]) => b.get(key) === value);
}
