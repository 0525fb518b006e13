/** A job that is woken while the answer that it sleeps is on its way: that answer ended the run, and the job hung. */
import { expect, test } from '@jest/globals';
import { JobAssignment, type JobReport } from '@nephos/proto/nephos/jobs/v1/executor';
import { JobState } from '@nephos/proto/nephos/jobs/v1/jobs';
import { HeldJob } from '../src/executor/held-job.ts';

test('an answer to what was said under a former token is nobody’s; the one under the new token counts', async () => {
  const said: JobReport[] = [];
  const dropped: HeldJob[] = [];
  const sink = { report: (report: JobReport) => void said.push(report) };
  let last = 0;
  const job = new HeldJob(JobAssignment.fromPartial({ uid: 'a-job', epoch: 1n, token: 2n }), {
    sink,
    version: 1,
    nextId: () => (last += 1),
    onDrop: (held) => void dropped.push(held),
  });
  const waiting = job.awaitChildren(['a-child']);
  job.adopt(sink, 1n, 22n);
  const [before, after] = said;
  expect([before?.token, after?.token]).toEqual([2n, 22n]);
  expect(after?.report).toEqual(before?.report);

  const suspended = { $case: 'suspended' as const, value: {} };
  job.acknowledge({ uid: 'a-job', reportId: before?.reportId ?? 0, outcome: suspended });
  expect(dropped).toEqual([]);
  const outcome = { uid: 'a-child', state: JobState.SUCCEEDED, result: '', error: undefined };
  const children = { $case: 'children' as const, value: { outcomes: [outcome] } };
  job.acknowledge({ uid: 'a-job', reportId: after?.reportId ?? 0, outcome: children });
  expect(await waiting).toEqual([outcome]);
});
