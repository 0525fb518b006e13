/** The stream of submissions: many under way at once, answered in whatever order they are synced. */

import { errorOf, Frames, statusOf } from '@nephos/jobs/protocol';
import type { NewJob, SubmitRequest, SubmitResponse, SubmitResult } from '@nephos/proto/nephos/jobs/v1/jobs';
import { Exhausted, etagOf, Unavailable } from '@nephos/service';
import { partitionOf } from '../domain/lane.ts';
import type { JobTable } from '../scheduling/job-table.ts';
import type { Scheduler } from '../scheduling/scheduler.ts';
import type { Submitted } from '../scheduling/submissions.ts';
import type { PeerSubmissions } from './peer-submissions.ts';
import type { RoutedCall, Router } from './router.ts';

const mostInFrame = 1000;
/** Submissions under way on one stream; reading waits while there are more. */
const mostUnderWay = 10_000;

/** One submission, brought to the owner of its partition. Never throws. */
export async function submitOne(
  job: NewJob,
  call: RoutedCall,
  { core, submissions }: Scheduler,
  router: Router,
  peers: PeerSubmissions,
): Promise<SubmitResult> {
  const { uid } = job;
  try {
    return await router.call(partitionOf(uid), call, {
      here: async () => resultOf(uid, await submissions.submit(job), core.table),
      async there(peer, { signal }, { address }) {
        const result = await peers.submit(address, peer, job, signal ?? call.signal);
        const error = result.outcome?.$case === 'error' ? errorOf(result.outcome.value) : undefined;
        // It is not the owner any more: whoever is next may take it.
        if (error instanceof Unavailable) throw error;
        return result;
      },
    });
  } catch (error) {
    return { uid, outcome: { $case: 'error', value: statusOf(error) } };
  }
}

export async function* submitStream(
  requests: AsyncIterable<SubmitRequest>,
  submit: (job: NewJob) => Promise<SubmitResult>,
): AsyncGenerator<SubmitResponse> {
  // A job that was there already is sent whole, so alone.
  const results = new Frames<SubmitResult>(({ outcome }) => (outcome?.$case === 'existing' ? 2 ** 20 : 0));
  let underWay = 0;
  let onRoom: (() => void) | undefined;

  const take = async (job: NewJob): Promise<void> => {
    underWay += 1;
    const result = await submit(job);
    underWay -= 1;
    results.push(result);
    onRoom?.();
  };

  const read = async (): Promise<void> => {
    try {
      for await (const { jobs } of requests) {
        if (jobs.length > mostInFrame)
          throw new Exhausted('LIMIT_REACHED', `a frame holds at most ${mostInFrame} jobs`);
        for (const job of jobs) void take(job);
        while (underWay > mostUnderWay) await new Promise<void>((resolve) => (onRoom = resolve));
      }
      while (underWay > 0) await new Promise<void>((resolve) => (onRoom = resolve));
    } finally {
      results.end();
    }
  };

  const reading = read();
  // Awaited below; until then its failure is nobody's surprise.
  reading.catch(() => {});
  for await (const frame of results) yield { results: [...frame] };
  await reading;
}

function resultOf(uid: string, { fresh, stored }: Submitted, table: JobTable): SubmitResult {
  if (!fresh) return { uid, outcome: { $case: 'existing', value: table.show(stored) } };
  const { createTime } = stored.value.header;
  const accepted = { createTime: new Date(createTime), etag: etagOf(uid, stored.revision) };
  return { uid, outcome: { $case: 'accepted', value: accepted } };
}
