/**
 * The records of runs. Writers: the job that asks for a run, through `request` and `answered`; agents' reports,
 * through `saw`. A report on the stream is ordered and always counts; an answer to a call may be older than what the
 * stream told since, so it counts only while nothing was seen yet.
 */
import {
  type MachineObservation,
  MachineObservation_Cause as SeenCause,
  MachineObservation_State as SeenState,
} from '@nephos/proto/nephos/plugin/v1/hypervisor';
import { AlreadyExists, type Clock, NotFound } from '@nephos/service';
import type { Collection, Stored } from '@nephos/store';
import { observed, type Sighting } from '../domain/vm/observe.ts';
import type { Cause, Incarnation } from '../domain/vm/vm.ts';

const pageSize = 500;

const states: ReadonlyMap<number, Sighting['state']> = new Map([
  [SeenState.RUNNING, 'running'],
  [SeenState.PAUSED, 'paused'],
  [SeenState.POWERED_OFF, 'powered-off'],
  [SeenState.GONE, 'gone'],
]);

const causes: ReadonlyMap<number, Cause> = new Map([
  [SeenCause.REQUESTED, 'requested'],
  [SeenCause.GUEST, 'guest'],
  [SeenCause.CRASHED, 'crashed'],
  [SeenCause.HOST_SHUTDOWN, 'host-shutdown'],
  [SeenCause.LOST, 'lost'],
]);

/** A state that this version does not know says nothing: unknown. */
export function sightingOf({ state, cause, message }: MachineObservation): Sighting {
  return { state: states.get(state) ?? 'unknown', cause: causes.get(cause) ?? 'unspecified', message };
}

export class Incarnations {
  readonly #records: Collection<Incarnation>;
  readonly #clock: Clock;

  constructor(records: Collection<Incarnation>, clock: Clock) {
    this.#records = records;
    this.#clock = clock;
  }

  async get(uid: string): Promise<Incarnation | undefined> {
    return (await this.#records.get(uid))?.value;
  }

  getMany(uids: readonly string[]): Promise<Stored<Incarnation>[]> {
    return this.#records.getMany(uids);
  }

  /** Writes down that a run is asked for; there already is success. */
  async request(uid: string, run: Incarnation): Promise<void> {
    try {
      await this.#records.insert(uid, run);
    } catch (error) {
      if (!(error instanceof AlreadyExists)) throw error;
    }
  }

  /**
   * What an agent's stream told. True if it was news; false also for a run without a record. `stillMine` throws once
   * this instance must not tell any more; asked after the record was read and before it is written.
   */
  saw(uid: string, sighting: Sighting, stillMine: () => void = () => undefined): Promise<boolean> {
    return this.#apply(uid, sighting, () => {
      stillMine();
      return true;
    });
  }

  /** What an agent's answer to a call told. */
  answered(uid: string, sighting: Sighting): Promise<boolean> {
    const { state } = sighting;
    const ends = state === 'gone' || state === 'powered-off';
    return this.#apply(uid, sighting, (run) => run.state === 'starting' || ends);
  }

  /** A run that lasted: what it ends by later is no repetition. */
  async lasted(uid: string): Promise<void> {
    await this.#modify(uid, (run) => (run.streak === 0 ? undefined : { ...run, streak: 0 }));
  }

  /** Runs of the host that are not known to be gone. */
  async *aliveOn(hostUid: string): AsyncIterable<Stored<Incarnation>> {
    let cursor: string | undefined;
    do {
      const where = { aliveOn: hostUid };
      const page = await this.#records.find({ where, limit: pageSize, ...(cursor && { cursor }) });
      yield* page.items;
      cursor = page.nextCursor;
    } while (cursor !== undefined);
  }

  /** Forgets the VM's runs but the one to keep. */
  async forget(vmUid: string, keep?: string): Promise<void> {
    const { items } = await this.#records.find({ where: { vmUid }, limit: pageSize });
    for (const { id } of items) {
      if (id !== keep) await this.#records.remove(id).catch(ignoreMissing);
    }
  }

  #apply(uid: string, sighting: Sighting, counts: (run: Incarnation) => boolean): Promise<boolean> {
    const at = this.#clock.now().toISOString();
    return this.#modify(uid, (run) => (counts(run) ? observed(run, sighting, at) : undefined));
  }

  async #modify(uid: string, change: (run: Incarnation) => Incarnation | undefined): Promise<boolean> {
    let changed = false;
    try {
      await this.#records.modify(uid, ({ value }) => {
        const next = change(value);
        changed = next !== undefined;
        return next && { value: next };
      });
    } catch (error) {
      ignoreMissing(error);
      return false;
    }
    return changed;
  }
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof NotFound)) throw error;
}
