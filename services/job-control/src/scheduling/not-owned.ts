/** Refused because of who owns the jobs, not of what was asked: whoever asked may ask the owner. */
import { Unavailable } from '@nephos/service';

export class NotOwned extends Unavailable {
  constructor(message = 'another instance of job control owns these jobs, or none yet') {
    super('LEASE_LOST', message, { retryAfterMs: 200 });
  }
}
