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
import { Changes } from './watch-job.ts';

type LogMethods = Pick<Implementation<JobServiceDefinition>, 'listJobLogLines' | 'watchJobLog'>;

export function logApi({ table, jobLog }: Pick<SchedulerCore, 'table' | 'jobLog'>): LogMethods {
  return {
    async listJobLogLines({ parent, pageSize, pageToken }) {
      const uid = parseResourceName('jobs', parent, 'parent');
      const after = Number(readPageToken(pageToken, [parent]) ?? 0);
      const most = pageSizeOf(pageSize);
      await table.view(uid);
      const lines = linesOf(uid, await jobLog.read(uid)).filter(({ number }) => number > after);
      const page = lines.slice(0, most);
      const cursor = lines.length > most ? String(page.at(-1)?.number) : undefined;
      return { jobLogLines: page, nextPageToken: pageTokenOf(cursor, [parent]) };
    },

    async *watchJobLog({ parent }, { signal }) {
      const uid = parseResourceName('jobs', parent, 'parent');
      const changes = new Changes(signal);
      using _watch = table.watch(uid, () => changes.note());
      let last = 0;
      while (!signal.aborted) {
        const over = isOver((await table.view(uid)).state);
        for (const line of linesOf(uid, await jobLog.read(uid))) {
          if (line.number <= last) continue;
          last = line.number;
          yield line;
        }
        if (over) return;
        await changes.next();
      }
    },
  };
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
