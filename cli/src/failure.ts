/** How a command that failed says so: one line with what, why, what to do and under which request id. */
import { NephosError, type Reason } from '@nephos/service';

/** What a person can do, where the reason alone tells. */
const advice: Partial<Readonly<Record<Reason, string>>> = {
  RESOURCE_NOT_FOUND: 'look at what is there with "list"',
  ETAG_MISMATCH: 'it changed meanwhile: look at it and try again',
  FILTER_INVALID: 'filters read like: display_name = "web" AND labels.tier = "front"',
  OPERATION_IN_PROGRESS: 'wait for it with "operations wait", or cancel it with "jobs cancel"',
  NO_HOST_FITS: 'ask for less, or add a host; "hosts list" shows what there is',
  RESOURCE_IN_USE: 'remove what uses it first',
  IMAGE_SOURCE_REFUSED: 'put the file below a folder that the template service reads from',
  SERVICE_UNAVAILABLE: 'is the platform up? "npm start" starts it; "services" shows what runs',
  DEADLINE_EXCEEDED: 'it may still go on: look at "jobs list"',
  HOST_NOT_READY: '"hosts list" shows why',
  JOB_BLOCKED: '"jobs show" says why; "jobs resume" or "jobs unwind" gets it out',
  INTERNAL: 'the request id finds it in the logs',
};

/** A message that says itself which command helps needs no further hint. */
const namesCommand = /"nephos /;

/** `requestId`: that of the run, where the server did not say another. */
export function failureText(error: unknown, requestId: string): string {
  if (!(error instanceof NephosError)) {
    return `nephos: ${error instanceof Error ? error.message : String(error)} [request ${requestId}]`;
  }
  const fields = (error.details.fields ?? [])
    .filter(({ description }) => !error.message.includes(description))
    .map(({ field, description }) => `; ${field}: ${description}`)
    .join('');
  const told = error.details.metadata?.['requestId'] || requestId;
  const hint = namesCommand.test(error.message) ? undefined : advice[error.reason];
  return `nephos: ${error.message}${fields} [${error.reason}, request ${told}]${hint === undefined ? '' : ` → ${hint}`}`;
}
