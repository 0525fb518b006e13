/** The jobs' own logs. */
import { isOver } from '@nephos/jobs';
import type { JobLogLine, JobServiceDefinition } from '@nephos/proto/nephos/jobs/v1/jobs';
import {
  type Implementation,
  pageSizeOf,
  pageTokenOf,
  parseResourceName,
  readPageToken,
} from '@nephos/service';
import type { LogRecord } from '../adapters/collections.ts';
import type { SchedulerCore } from '../scheduling/core.ts';
import { NotOwned } from '../scheduling/not-owned.ts';
import type { Router } from './router.ts';
import { Changes } from './watch-job.ts';

type LogMethods = Pick<Implementation<JobServiceDefinition>, 'listJobLogLines' | 'watchJobLog'>;

/** Lines that the owner has not written yet are known to it alone. */
export function logApi(
  { table, jobLog }: Pick<SchedulerCore, 'table' | 'jobLog'>,
  router: Router,
): LogMethods {
  return {
    async listJobLogLines(request, call) {
      const { parent, pageSize, pageToken } = request;
      const uid = parseResourceName('jobs', parent, 'parent');
      const after = Number(readPageToken(pageToken, [parent]) ?? 0);
      const most = pageSizeOf(pageSize);
      const { partition } = await table.place(uid);
      return await router.read(partition, call, {
        async here() {
          const lines = linesOf(uid, await jobLog.read(uid)).filter(({ number }) => number > after);
          const page = lines.slice(0, most);
          const cursor = lines.length > most ? String(page.at(-1)?.number) : undefined;
          return { jobLogLines: page, nextPageToken: pageTokenOf(cursor, [parent]) };
        },
        there: (peer, onward) => peer.listJobLogLines(request, onward),
      });
    },

    async *watchJobLog({ parent }, call) {
      const uid = parseResourceName('jobs', parent, 'parent');
      const { partition } = await table.place(uid);
      const lines = router.follow(partition, call, call.signal, {
        here: () => watchLines({ table, jobLog }, uid, partition, call.signal),
        there: (peer, onward) => peer.watchJobLog({ parent }, onward),
      });
      let last = 0;
      for await (const line of lines) {
        // Another owner begins anew.
        if (line.number <= last) continue;
        last = line.number;
        yield line;
      }
    },
  };
}

/** Throws `NotOwned` when the partition is another's from some moment on. */
async function* watchLines(
  { table, jobLog }: Pick<SchedulerCore, 'table' | 'jobLog'>,
  uid: string,
  partition: number,
  signal: AbortSignal,
): AsyncGenerator<JobLogLine> {
  const changes = new Changes(signal);
  using _watch = table.watch(uid, () => changes.note());
  let last = 0;
  while (!signal.aborted) {
    const over = isOver((await table.view(uid)).state);
    if (!over && !table.owns(partition)) throw new NotOwned();
    for (const line of linesOf(uid, await jobLog.read(uid))) {
      if (line.number <= last) continue;
      last = line.number;
      yield line;
    }
    if (over) return;
    await changes.next();
  }
}

function linesOf(uid: string, record: LogRecord | undefined): JobLogLine[] {
  if (record === undefined) return [];
  return record.lines.map(({ number, at, step, text }) => ({
    number,
    time: new Date(at),
    job: `jobs/${uid}`,
    root: `jobs/${record.root}`,
    requestId: record.requestId,
    traceparent: record.traceparent,
    step,
    text,
  }));
}
