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
      await Promise.all(page.items.map((stored) => adoptOne(stored, name, options)));
      cursor = page.nextCursor;
    } while (cursor !== undefined);
  }
}

/**
 * What a predecessor that stood still had on its way to the store, and what came through only after this instance had
 * read the lanes: looked for once more, when the longest that such a write can take is over.
 */
export async function adoptStragglers(partition: number, options: TakeoverOptions): Promise<void> {
  const { core } = options;
  const epoch = core.table.epoch(partition);
  for (const [type, queue] of core.queues) {
    const lane = laneOf('ready', partition, type);
    let cursor: string | undefined;
    do {
      const page = await core.options.jobs.find({
        where: { lane, order: { lte: queue.cursor(partition) } },
        orderBy: 'lane',
        limit: pageSize,
        ...(cursor !== undefined && { cursor }),
      });
      for (const stored of page.items) if (stored.value.epoch < epoch) await core.surface(stored);
      cursor = page.nextCursor;
    } while (cursor !== undefined);
  }
  await adoptSleepers(partition, options);
}

async function adoptOne(
  stored: Stored<JobRecord>,
  lane: string,
  { core, waits, due }: TakeoverOptions,
): Promise<void> {
  const at = dueAt(stored.value, core.now());
  const again = stored.value.nextAttemptAt === undefined ? {} : { nextAttemptAt: at };
  // Whoever asked for it before has stamped it: what it sleeps for is to be looked at all the same.
  const stamped = stored.value.epoch === core.table.epoch(stored.value.partition);
  const adopted = stamped ? undefined : await core.table.adopt(stored, { order: at, ...again });
  const job = adopted ?? (await core.table.load(stored.id));
  core.table.forget(job);
  if (job.record.lane !== lane) return;
  due.note(job.record.partition, job.record.order ?? at);
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
