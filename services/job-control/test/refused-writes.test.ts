/** What the store refuses, as when its disk is full, is not forgotten: the process ends, the next one reads on. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from '@jest/globals';
import { openEntity } from '@nephos/events';
import { NewJob } from '@nephos/proto/nephos/jobs/v1/jobs';
import { systemClock as clock, newUid } from '@nephos/service';
import { openStore } from '@nephos/store';
import { jobEntity } from '../src/adapters/collections.ts';
import { recordOf } from '../src/domain/submission.ts';
import { JobTable } from '../src/scheduling/job-table.ts';

test('a change that the store refused left a job in memory that nobody could end any more', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'nephos-refused-'));
  await using store = await openStore({ url: `sqlite://${folder}/jobs.db`, clock });
  const failures: unknown[] = [];
  const table = new JobTable({
    jobs: await openEntity(store, jobEntity, { source: 'job-control', clock }),
    clock,
    epochOf: () => 1,
    wasHanded: () => false,
    onFenced: () => {},
    onFailure: (error) => failures.push(error),
  });
  const uid = newUid();
  const job = NewJob.fromPartial({ uid, type: 'some.thing', definitionVersion: 1, owner: 'tests' });
  const now = clock.now().toISOString();
  const live = await table.insert(recordOf(job, { root: uid, epoch: 1, place: 1, now }));
  // No disk is filled here: a record past what one document may hold is refused just the same.
  const refused = { ...live.record, result: 'x'.repeat(9 * 2 ** 20) };
  await expect(table.change(live, refused, undefined)).rejects.toMatchObject({ reason: 'MESSAGE_TOO_LARGE' });
  expect(failures).toHaveLength(1);
  await rm(folder, { recursive: true });
});
