/** The orchestrator as a process of its own. */
import { run } from '@nephos/service';
import { orchestrator } from './service.ts';

await run(orchestrator);
