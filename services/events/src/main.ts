/** Runs the events service as a process. */
import { run } from '@nephos/service';
import { eventsService } from './service.ts';

await run(eventsService);
