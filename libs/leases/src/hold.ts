/**
 * Work that one instance at a time does: reconcilers, sweepers, bridges, subscriptions of which there may be one.
 * Invariants: the work's signal aborts a quarter of a lease before another instance may begin the same work; the
 * lease is let go of only once the work has ended. Work that stands still for longer than that is a zombie that knows
 * nothing of it: what it writes is to be guarded by the epoch. A crash leaves the lease, to be taken when it is over.
 */
import { Conflict, type ServiceContext } from '@nephos/service';
import { Lease } from './lease.ts';
import { type Leases, renewMs } from './leases.ts';

/** What the work is told. */
export interface Held {
  /** Higher with each change of holder: guards writes against holders that came before. */
  readonly epoch: number;
  /** Aborts when the lease is lost or the service stops. */
  readonly signal: AbortSignal;
  /** At this very moment: false also right after the process stood still, before the signal could abort. */
  readonly isHeld: () => boolean;
}

export interface HoldOptions {
  readonly leases: Leases;
  /** Names the work; unique in the store. */
  readonly name: string;
  /** In place of that of `leases`; the same in all instances. */
  readonly leaseMs?: number;
}

/** How often one that waits looks, in shares of a lease. */
const lookShare = 0.1;

/**
 * Runs `work` in the background on the instance that holds the lease, and again wherever it is held next. Work that
 * throws gives the lease up and begins anew after a pause, here or elsewhere; work that returns before its signal
 * aborted is done for this instance, and another may do it.
 */
export function holdLease(
  ctx: Pick<ServiceContext, 'background'>,
  options: HoldOptions,
  work: (held: Held) => Promise<void>,
): void {
  const leases = { ...options.leases, leaseMs: options.leaseMs ?? options.leases.leaseMs };
  ctx.background(options.name, (signal) => contend(leases, options.name, work, signal));
}

async function contend(
  leases: Leases,
  name: string,
  work: (held: Held) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const { documents, clock, leaseMs, log } = leases;
  let lost = new AbortController();
  const lease = new Lease(name, leases, {
    taken: (epoch) => log.info({ lease: name, epoch }, 'took a lease'),
    lost: () => lost.abort(new Conflict('LEASE_LOST', `the lease ${name} was lost`)),
  });
  while (!signal.aborted) {
    lease.see(await documents.get(name));
    if (lease.isFree) await lease.take();
    const { epoch } = lease;
    if (epoch === undefined) {
      await clock.sleep(leaseMs * lookShare, signal).catch(() => {});
      continue;
    }
    const aborted = AbortSignal.any([lost.signal, signal]);
    try {
      await underLease(leases, lease, () =>
        work({ epoch, signal: aborted, isHeld: () => lease.epoch === epoch }),
      );
      if (!aborted.aborted) return;
    } catch (error) {
      if (!aborted.aborted) throw error;
      log.debug({ err: error, lease: name, epoch }, 'work under a lease broke off');
    }
    lost = new AbortController();
  }
}

/** Does the work, renewing the lease until it has ended, and lets go. */
async function underLease(leases: Leases, lease: Lease, work: () => Promise<void>): Promise<void> {
  const over = new AbortController();
  const renewing = keep(leases, lease, over.signal);
  try {
    await work();
  } finally {
    over.abort();
    await renewing;
    const epoch = lease.withdraw();
    if (epoch !== undefined) {
      await lease.letGo(epoch).catch((error: unknown) => {
        leases.log.warn({ err: error, lease: lease.name }, 'a lease could not be let go of: it runs out');
      });
    }
  }
}

async function keep(leases: Leases, lease: Lease, over: AbortSignal): Promise<void> {
  while (!over.aborted) {
    await leases.clock.sleep(renewMs(leases) / 2, over).catch(() => {});
    if (over.aborted) return;
    await lease.renew().catch((error: unknown) => {
      leases.log.warn({ err: error, lease: lease.name }, 'a lease could not be renewed');
    });
  }
}
