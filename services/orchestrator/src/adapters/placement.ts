/**
 * Finds room and claims it: asks the planner, claims the best candidate, asks again without those that refused.
 * Owner: the orchestrator. Claims nothing twice: what a VM holds already is the answer, so a repeated step after
 * a crash finds the first one's host. Where other instances write hosts and ledgers too, nothing is refused for want
 * of room before the picture was read anew: a view behind the others never costs a VM its place.
 */
import { Exhausted, Unavailable } from '@nephos/service';
import type { Plan, PlanRequest } from '../domain/planner/host-view.ts';
import type { Placement, RoomRequest } from '../ports.ts';
import type { StoredCapacity } from './capacity.ts';

const maxRounds = 8;
/** Reasons for which a host that can be asked is rejected. */
const full: ReadonlySet<string> = new Set(['refused', 'memory', 'vcpus', 'disk']);
const maxCandidates = 3;

export type Planner = (request: PlanRequest) => Promise<Plan>;

export class ClaimingPlacement implements Placement {
  readonly #planner: Planner;
  readonly #atBest: Planner;
  readonly #capacity: StoredCapacity;
  readonly #freshen: () => Promise<boolean>;

  /**
   * `atBest` plans over the same hosts as they would be at their best; `freshen` reads them anew, false where the
   * picture cannot be behind.
   */
  constructor(
    planner: Planner,
    atBest: Planner,
    capacity: StoredCapacity,
    freshen: () => Promise<boolean> = () => Promise.resolve(false),
  ) {
    this.#planner = planner;
    this.#atBest = atBest;
    this.#capacity = capacity;
    this.#freshen = freshen;
  }

  async checkPossible(request: RoomRequest): Promise<void> {
    const asked = { ...request, excludedHosts: new Set<string>(), maxCandidates: 1 };
    if ((await this.#planner(asked)).candidates.length > 0) return;
    let plan = await this.#atBest(asked);
    if (plan.candidates.length === 0 && (await this.#freshen())) plan = await this.#atBest(asked);
    if (plan.candidates.length === 0) throw noHostFits(plan);
  }

  async place(request: RoomRequest): Promise<{ readonly hostUid: string }> {
    const held = await this.#capacity.hostOf(request.vmUid);
    if (held !== undefined) {
      await this.#capacity.resize(held, { vmUid: request.vmUid, ...request.needs });
      return { hostUid: held };
    }
    const excludedHosts = new Set<string>();
    let fresh = false;
    for (let round = 0; round < maxRounds; round += 1) {
      const plan = await this.#planner({ ...request, excludedHosts, maxCandidates });
      if (plan.candidates.length === 0) {
        if (!fresh && (await this.#freshen())) {
          fresh = true;
          continue;
        }
        await this.#capacity.release(request.vmUid);
        throw noHostFits(plan);
      }
      for (const { hostUid } of plan.candidates) {
        if (await this.#capacity.claim(hostUid, { vmUid: request.vmUid, ...request.needs }))
          return { hostUid };
        excludedHosts.add(hostUid);
      }
    }
    await this.#capacity.release(request.vmUid);
    throw new Exhausted('CAPACITY_EXHAUSTED', 'hosts filled up faster than one could be claimed; try again', {
      retryAfterMs: 1000,
    });
  }
}

function noHostFits({ considered, rejections, closestMiss }: Plan): Exhausted | Unavailable {
  const counts = rejections.map(({ reason, hosts }) => `${hosts} ${reason}`).join(', ');
  const nearest = closestMiss === '' ? '' : `; nearest: ${closestMiss}`;
  const message =
    considered === 0
      ? 'no host fits: there is none yet; add one with `nephos hosts create`'
      : `no host fits: of ${considered} looked at, rejected for: ${counts}${nearest}`;
  const metadata: Record<string, string> = { considered: String(considered), closest_miss: closestMiss };
  for (const { reason, hosts } of rejections) metadata[`rejected.${reason}`] = String(hosts);
  // No room is told at once; hosts whose agents are away may be back in a moment, so that is worth another try.
  const onlyAway =
    metadata['rejected.link'] !== undefined && rejections.every(({ reason }) => !full.has(reason));
  return new (onlyAway ? Unavailable : Exhausted)('NO_HOST_FITS', message, { metadata });
}
