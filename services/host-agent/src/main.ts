/** The host agent as a process of its own. */
import { run } from '@nephos/service';
import { hostAgent } from './service.ts';

await run(hostAgent);
