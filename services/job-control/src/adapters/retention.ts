/**
 * Removes jobs some time after their end, a tree at a time: children stay as long as their root, since a replay
 * reads them. A crash leaves part of a tree; the root goes last, so the next sweep finds the rest.
 */
import type { EntityCollection } from '@nephos/events';
import type { Job } from '@nephos/proto/nephos/jobs/v1/jobs';
import type { Clock } from '@nephos/service';
import type { Collection } from '@nephos/store';
import type { Logger } from 'pino';
import type { JobRecord } from '../domain/record.ts';
import type { LogRecord } from './collections.ts';

export interface RetentionOptions {
  readonly jobs: EntityCollection<JobRecord, Job>;
  readonly logs: Collection<LogRecord>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly retentionMs: number;
  readonly sweepMs: number;
  /** Only trees of these are swept here. */
  readonly owned: () => readonly number[];
}

const pageSize = 500;

/** Sweeps until aborted. */
export async function sweepJobs(options: RetentionOptions, signal: AbortSignal): Promise<void> {
  const { clock, sweepMs, log } = options;
  while (!signal.aborted) {
    const removed = await sweepOnce(options);
    if (removed > 0) log.debug({ removed }, 'finished jobs were removed');
    if (removed < pageSize) await clock.sleep(sweepMs, signal).catch(() => {});
  }
}

/** Removes at most a page of the trees owned; returns how many jobs went. */
export async function sweepOnce({
  jobs,
  logs,
  clock,
  retentionMs,
  owned,
}: RetentionOptions): Promise<number> {
  const until = clock.now().getTime() - retentionMs;
  const mine: string[] = [];
  let page: string | undefined;
  // What others own is theirs to remove, and must not hide what is behind it.
  do {
    const where = { expiry: { lte: until } };
    const cursor = page === undefined ? {} : { cursor: page };
    const roots = await jobs.find({ where, orderBy: 'expiry', limit: pageSize, ...cursor });
    const here = new Set(owned());
    for (const { id, value } of roots.items) if (here.has(value.partition)) mine.push(id);
    page = roots.nextCursor;
  } while (page !== undefined && mine.length < pageSize);
  let removed = 0;
  for (const root of mine) {
    const descendants: string[] = [];
    let cursor: string | undefined;
    do {
      const where = { tree: `jobs/${root}` };
      const page = await jobs.find({
        where,
        orderBy: 'tree',
        limit: pageSize,
        ...(cursor !== undefined && { cursor }),
      });
      for (const { id } of page.items) if (id !== root) descendants.push(id);
      cursor = page.nextCursor;
    } while (cursor !== undefined);
    await remove(jobs, logs, descendants);
    await remove(jobs, logs, [root]);
    removed += descendants.length + 1;
  }
  return removed;
}

async function remove(
  jobs: EntityCollection<JobRecord, Job>,
  logs: Collection<LogRecord>,
  uids: readonly string[],
): Promise<void> {
  await logs.batch(uids.map((id) => ({ kind: 'remove', id })));
  await jobs.documents.batch(uids.map((id) => ({ kind: 'remove', id })));
}
