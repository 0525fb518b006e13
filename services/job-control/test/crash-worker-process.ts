/**
 * A process that runs jobs for crash.test.ts and writes a line for each step it begins to run, so that the lines of
 * all processes together tell what ran where and how often. Arguments: job control's address, the file, a name.
 */
import { appendFileSync } from 'node:fs';
import { defineJob, type JobContext, startExecutor } from '@nephos/jobs';
import { defineService, startService } from '@nephos/service';

const [address = '', file = '', name = ''] = process.argv.slice(2);

export const steps = 6;

const march = defineJob({
  type: 'crash.march',
  version: 1,
  timeoutMs: 120_000,
  events: 'none',
  async run(job: JobContext<{ readonly pauseMs: number }>, clock: { sleep(ms: number): Promise<void> }) {
    for (let n = 0; n < steps; n += 1) {
      await job.step(`step-${n}`, async () => {
        appendFileSync(file, `${JSON.stringify({ job: job.uid, step: n, by: name })}\n`);
        await clock.sleep(job.input.pauseMs);
        return n;
      });
    }
    return name;
  },
});

const worker = defineService({
  name: 'crash-worker',
  version: '0.1.0',
  config: {},
  start: (ctx) => {
    startExecutor(ctx, { jobs: [march], deps: ctx.clock, concurrency: 20, jobControl: [address] });
    return Promise.resolve();
  },
});

await startService(worker, { env: { NEPHOS_DATA: `${file}.${name}`, NEPHOS_LOG_LEVEL: 'error' } });
