/** Runs the webhook bridge as a process. */
import { run } from '@nephos/service';
import { webhooksService } from './service.ts';

await run(webhooksService);
