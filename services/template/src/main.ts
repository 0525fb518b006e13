/** The template service as a process of its own. */
import { run } from '@nephos/service';
import { template } from './service.ts';

await run(template);
