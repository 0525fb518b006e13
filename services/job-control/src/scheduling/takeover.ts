/**
 * What a new owner of a partition does with what its predecessor left: stamps the jobs that sleep and looks again
 * at what they wait for. Ready jobs are stamped page by page as they come into memory; blocked ones when a person
 * comes back to them. A crash in between leaves jobs of an older epoch, which the next owner finds the same way.
 */
import type { Stored } from '@nephos/store';
import { laneOf } from '../domain/lane.ts';
import type { JobRecord } from '../domain/record.ts';
import type { SchedulerCore } from './core.ts';
import type { Due } from './due.ts';
import type { Waits } from './waits.ts';

const pageSize = 500;

export interface TakeoverOptions {
  readonly core: SchedulerCore;
  readonly waits: Waits;
  readonly due: Due;
}

export async function adoptSleepers(partition: number, options: TakeoverOptions): Promise<void> {
  const { core } = options;
  for (const lane of ['delayed', 'suspended'] as const) {
    let cursor: string | undefined;
    do {
      const name = laneOf(lane, partition, '');
      const page = await core.options.jobs.find({
        where: { lane: name },
        orderBy: 'lane',
        limit: pageSize,
        ...(cursor !== undefined && { cursor }),
      });
      if (!core.partitions.includes(partition)) return;
      const old = page.items.filter(({ value }) => value.epoch !== core.table.epoch(partition));
      await Promise.all(old.map((stored) => adoptOne(stored, options)));
      cursor = page.nextCursor;
    } while (cursor !== undefined);
  }
}

async function adoptOne(stored: Stored<JobRecord>, { core, waits, due }: TakeoverOptions): Promise<void> {
  const at = dueAt(stored.value, core.now());
  const again = stored.value.nextAttemptAt === undefined ? {} : { nextAttemptAt: at };
  const job = await core.table.adopt(stored, { order: at, ...again });
  if (job === undefined) return;
  core.table.forget(job);
  due.note(stored.value.partition, at);
  const { waits: uids, unwind } = job.record;
  if (uids === undefined) return;
  if (unwind !== undefined) await waits.cancelChildren(job.record);
  await waits.check(job.uid, uids);
}

/** By this instance's own clock: what its predecessor wrote is not compared with it, but for a bound. */
function dueAt(record: JobRecord, now: number): number {
  if (record.nextAttemptAt !== undefined) {
    const left = record.nextAttemptAt - now;
    return now + Math.min(Math.max(left, 0), record.backoffMs ?? 0);
  }
  if (record.unwind !== undefined) return Number.MAX_SAFE_INTEGER;
  return now + Math.max(0, record.timeoutMs - (record.elapsedMs ?? 0));
}
