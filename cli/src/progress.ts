/**
 * Long operations: what is under way goes to stderr, in one live line on a terminal and as plain lines elsewhere;
 * the result alone goes to stdout.
 */
import { durationText, finishedOperation } from '@nephos/client';
import type { Operation } from '@nephos/proto/google/longrunning/operations';
import { type Job, type JobStep, JobStepState } from '@nephos/proto/nephos/jobs/v1/jobs';
import type { Session, Sink } from './session.ts';
import { printable } from './table.ts';

const eraseLine = '\r\u001b[2K';

export class Progress {
  readonly #sink: Sink;
  readonly #told = new Map<string, JobStepState>();
  #live = '';

  constructor(sink: Sink) {
    this.#sink = sink;
  }

  readonly show = (job: Job): void => {
    for (const step of job.steps) this.#tell(step);
    const { percent = 0, message = '' } = job.progress ?? {};
    const running = job.steps.find(({ state }) => state === JobStepState.RUNNING)?.name ?? '';
    if (this.#sink.isTTY !== true) return;
    this.#live = `${job.type} ${String(percent).padStart(3)} % ${printable(message || running)}`;
    this.#sink.write(`${eraseLine}${this.#live.slice(0, (this.#sink.columns || 80) - 1)}`);
  };

  end(): void {
    if (this.#live !== '') this.#sink.write(eraseLine);
    this.#live = '';
  }

  #tell({ name, state, startTime, endTime, error }: JobStep): void {
    if (this.#told.get(name) === state) return;
    this.#told.set(name, state);
    const took = startTime && endTime ? ` ${durationText(endTime.getTime() - startTime.getTime())}` : '';
    if (state === JobStepState.SUCCEEDED) this.#line(`  ${name.padEnd(16)} done${took}`);
    if (state === JobStepState.FAILED)
      this.#line(`  ${name.padEnd(16)} failed: ${printable(error?.message ?? '')}`);
    if (state === JobStepState.UNDONE) this.#line(`  ${name.padEnd(16)} undone`);
  }

  #line(text: string): void {
    this.#sink.write(`${this.#live === '' ? '' : eraseLine}${text}\n`);
  }
}

/** Waits for the operation and draws it. With `wait` false it is only named; returns false then. */
export async function waitFor(session: Session, operation: Operation, wait: boolean): Promise<boolean> {
  if (!wait) {
    if (session.json) session.document({ name: operation.name });
    else session.out(operation.name);
    return false;
  }
  const progress = new Progress(session.world.stderr);
  try {
    await finishedOperation(session.platform, operation, { signal: session.signal, onChange: progress.show });
  } finally {
    progress.end();
  }
  return true;
}
