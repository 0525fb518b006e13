/** Showing one job, now or from now on, wherever it is owned. */
import type { Job } from '@nephos/proto/nephos/jobs/v1/jobs';
import type { Call } from '@nephos/service';
import type { JobTable } from '../scheduling/job-table.ts';
import type { Router } from './router.ts';
import { watchJob } from './watch-job.ts';

/** Throws `NotFound`. */
export async function showJob(uid: string, call: Call, table: JobTable, router: Router): Promise<Job> {
  const { partition, over } = await table.place(uid);
  if (over) return await table.view(uid);
  return await router.read(partition, call, {
    here: () => table.view(uid),
    there: (peer, onward) => peer.getJob({ name: `jobs/${uid}` }, onward),
  });
}

/** Its current state, then each change, until it is over or the signal aborts. Throws `NotFound`, `Unavailable`. */
export async function* followJob(
  uid: string,
  call: Call,
  signal: AbortSignal,
  table: JobTable,
  router: Router,
): AsyncGenerator<Job> {
  const { partition, over } = await table.place(uid);
  if (over) {
    yield await table.view(uid);
    return;
  }
  yield* router.follow(partition, call, signal, {
    here: () => watchJob(table, uid, partition, signal),
    there: (peer, onward) => peer.watchJob({ name: `jobs/${uid}` }, onward),
  });
}
