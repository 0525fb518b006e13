/** Runs the services directory as a process. */
import { run } from '@nephos/service';
import { directory } from './service.ts';

await run(directory);
