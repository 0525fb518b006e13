/**
 * Brings what is into line with what is wanted, from the records alone (DESIGN section 9: reconcilers take no input).
 * Owner: the orchestrator. A pass looks at every VM; nudges only make it look sooner. What it starts are ordinary
 * operations under the VM's lease, with job uids derived from VM and generation, so that replicas and restarts start
 * each once. All it remembers is when it first saw a need, on its own monotonic clock; a crash loses only pauses.
 */
import { type Clock, type Logger, Precondition } from '@nephos/service';
import type { Stored } from '@nephos/store';
import type { OperationLeases } from '../adapters/operation-leases.ts';
import type { Place, VmOperations } from '../adapters/vm-operations.ts';
import { type Drift, driftOf, pauseBefore } from '../domain/vm/drift.ts';
import { systemJobUid } from '../domain/vm/job-uid.ts';
import { projectVm, sameStatus } from '../domain/vm/project.ts';
import type { OperationKind, Vm } from '../domain/vm/vm.ts';
import type { AgentLinks } from '../ports.ts';
import type { OperationInput } from '../records/operation.ts';
import type { VmEntities } from '../records/vm.ts';
import type { Incarnations } from './incarnations.ts';
import type { LeaseSweeper } from './lease-sweeper.ts';
import type { Leftovers } from './leftovers.ts';
import type { Projector } from './projector.ts';

export interface ReconcilerParts {
  readonly vms: VmEntities;
  readonly incarnations: Incarnations;
  readonly leases: OperationLeases;
  readonly projector: Projector;
  readonly operations: VmOperations;
  readonly sweeper: LeaseSweeper;
  readonly leftovers: Leftovers;
  readonly links: Pick<AgentLinks, 'linkOf'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Between two passes over all VMs, milliseconds. */
  readonly intervalMs: number;
}

/** Who the jobs that the reconciler starts are by. */
const principal = 'system:orchestrator';
const pageSize = 500;
/** A run this long is no repetition of the one before. */
const lastedMs = 10 * 60_000;
const sweepMs = 5_000;
const passesBetweenSweeps = 10;

interface Need {
  /** When it was first seen, or last acted on; monotonic milliseconds. */
  since: number;
  attempts: number;
}

export class Reconciler {
  readonly #parts: ReconcilerParts;
  readonly #needs = new Map<string, Need>();
  /** By VM: the run that was last seen running, and since when. */
  readonly #runningSince = new Map<string, { readonly run: string; readonly since: number }>();
  readonly #nudged = new Set<string>();
  #wake = Promise.withResolvers<void>();

  constructor(parts: ReconcilerParts) {
    this.#parts = parts;
  }

  /** Has the VM looked at soon. */
  nudge(vmUid: string): void {
    this.#nudged.add(vmUid);
    this.#wake.resolve();
  }

  /** The loop for `ctx.background`. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, intervalMs, leftovers } = this.#parts;
    const aborted = new Promise<void>((resolve) =>
      signal.addEventListener('abort', () => resolve(), { once: true }),
    );
    let [lastPass, lastSweep, passes] = [-Infinity, -Infinity, 0];
    while (!signal.aborted) {
      this.#wake = Promise.withResolvers<void>();
      await this.#considerNudged(signal);
      if (clock.monotonic() - lastSweep >= sweepMs) {
        await this.#guard('leases', () => this.#parts.sweeper.sweep(signal));
        lastSweep = clock.monotonic();
      }
      if (clock.monotonic() - lastPass >= intervalMs) {
        await this.#guard('pass', () => this.pass(signal));
        if (passes % passesBetweenSweeps === 0) await this.#guard('leftovers', () => leftovers.sweep(signal));
        passes += 1;
        lastPass = clock.monotonic();
      }
      using _tick = clock.timer(Math.min(sweepMs, intervalMs), this.#wake.resolve);
      if (this.#nudged.size === 0) await Promise.race([this.#wake.promise, aborted]);
    }
  }

  /** One look at every VM. */
  async pass(signal?: AbortSignal): Promise<void> {
    const { vms } = this.#parts;
    let cursor: string | undefined;
    do {
      const page = await vms.find({ limit: pageSize, ...(cursor && { cursor }) });
      for (const id of await this.#wanting(page.items)) {
        if (signal?.aborted) return;
        await this.#guard(id, () => this.consider(id));
      }
      cursor = page.nextCursor;
    } while (cursor !== undefined);
    await this.#guard('owed', () => this.#payOwed());
  }

  /** Those of a page that something may have to be done about. Read in three queries, however many they are. */
  async #wanting(page: readonly Stored<Vm>[]): Promise<string[]> {
    const { clock, incarnations, leases, links } = this.#parts;
    const runUids = page.flatMap(({ value }) => value.incarnation?.uid ?? []);
    const held = byId(await leases.getMany(page.map(({ id }) => id)));
    const runs = byId(await incarnations.getMany(runUids));
    const now = clock.now().toISOString();
    const wanting = page.filter(({ id, value }) => {
      const incarnation = runs.get(value.incarnation?.uid ?? '');
      const link = value.hostUid === undefined ? undefined : links.linkOf(value.hostUid);
      const seen = { incarnation, holder: held.get(id)?.holder, link };
      if (!sameStatus(projectVm(value, seen), value.status)) return true;
      if (seen.holder) return false;
      const atRest = driftOf(value, { ...seen, now }) === undefined;
      if (atRest) this.#needs.delete(id);
      return !atRest || (incarnation?.streak ?? 0) > 0;
    });
    return wanting.map(({ id }) => id);
  }

  /** Looks at one VM: projects it and, if nobody works on it, starts what it needs. */
  async consider(vmUid: string): Promise<void> {
    const { vms, projector, clock } = this.#parts;
    await projector.project(vmUid);
    const stored = await vms.get(vmUid);
    if (!stored) {
      this.#runningSince.delete(vmUid);
      return void this.#needs.delete(vmUid);
    }
    const seen = await projector.seen(stored.value);
    if (seen.holder) return;
    const drift = driftOf(stored.value, { ...seen, now: clock.now().toISOString() });
    if (!drift) {
      this.#needs.delete(vmUid);
      return await this.#noteRunning(stored.value, seen.incarnation);
    }
    if (drift.kind === 'follow-power-off') await this.#followPowerOff(stored);
    else await this.#start(stored.value, drift);
  }

  async #considerNudged(signal: AbortSignal): Promise<void> {
    const nudged = [...this.#nudged];
    this.#nudged.clear();
    for (const vmUid of nudged) {
      if (signal.aborted) return;
      await this.#guard(vmUid, () => this.consider(vmUid));
    }
  }

  /** The guest's own power-off becomes the intent, and the next look gives its room back. */
  async #followPowerOff(stored: Stored<Vm>): Promise<void> {
    const off = (vm: Vm): Vm => ({ ...vm, spec: { ...vm.spec, desiredPower: 'off' } });
    await this.#parts.projector.change(stored.id, off, { expected: stored.revision });
    this.nudge(stored.id);
  }

  async #start(vm: Vm, { operation, streak }: Extract<Drift, { kind: 'submit' }>): Promise<void> {
    const { clock } = this.#parts;
    const vmUid = vm.header.uid;
    const need = this.#needs.get(vmUid) ?? { since: clock.monotonic(), attempts: 0 };
    this.#needs.set(vmUid, need);
    const pause = pauseBefore(Math.max(streak, need.attempts + 1));
    const left = pause - (clock.monotonic() - need.since);
    if (left > 0) return void clock.timer(left, () => this.nudge(vmUid));
    need.attempts += 1;
    need.since = clock.monotonic();
    if (operation === 'vm.create') await this.#begin(operation, { vmUid }, vm.header, vm.createJob);
    else await this.#begin(operation, { vmUid, streak, ifNeeded: true }, vm.header);
  }

  async #begin(kind: OperationKind, input: OperationInput, place: Place, uid?: string): Promise<void> {
    const { vmUid } = input;
    const jobUid = uid ?? ((generation: number) => systemJobUid(vmUid, generation));
    try {
      const job = await this.#parts.operations.begin({ vmUid, kind, jobUid, input }, place, principal);
      await this.#parts.sweeper.settle(vmUid, job);
    } catch (error) {
      // Somebody works on it: what it needs after that is seen after that.
      if (error instanceof Precondition && error.reason === 'OPERATION_IN_PROGRESS') return;
      throw error;
    }
  }

  /** Hosts that are back are rid of what is left there of expunged VMs. */
  async #payOwed(): Promise<void> {
    const { leases, links } = this.#parts;
    for await (const { id: vmUid, value } of leases.owed()) {
      const { expunged } = value;
      if (value.holder || !expunged?.owedBy || links.linkOf(expunged.owedBy) !== 'up') continue;
      await this.#guard(vmUid, () => this.#begin('vm.clean', { vmUid }, expunged));
    }
  }

  async #noteRunning(vm: Vm, run: Awaited<ReturnType<Incarnations['get']>>): Promise<void> {
    const { clock, incarnations } = this.#parts;
    const vmUid = vm.header.uid;
    const uid = vm.incarnation?.uid;
    if (uid === undefined || run?.state !== 'running' || run.streak === 0) {
      this.#runningSince.delete(vmUid);
      return;
    }
    const known = this.#runningSince.get(vmUid);
    const since = known?.run === uid ? known.since : clock.monotonic();
    this.#runningSince.set(vmUid, { run: uid, since });
    if (clock.monotonic() - since < lastedMs) return;
    await incarnations.lasted(uid);
    this.#runningSince.delete(vmUid);
  }

  /** One VM that cannot be dealt with now does not keep the others waiting. */
  async #guard(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#parts.log.warn({ err: error, what }, 'reconciling is tried again at the next pass');
    }
  }
}

function byId<T>(documents: readonly Stored<T>[]): ReadonlyMap<string, T> {
  return new Map(documents.map(({ id, value }) => [id, value]));
}
