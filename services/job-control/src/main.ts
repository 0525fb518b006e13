/** Runs job-control. */
import { run } from '@nephos/service';
import { jobControlService } from './service.ts';

await run(jobControlService);
