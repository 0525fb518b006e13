/** Following one job: its level, not its edges. What changed between two messages is folded into the later one. */
import { isOver } from '@nephos/jobs';
import type { Job } from '@nephos/proto/nephos/jobs/v1/jobs';
import type { JobTable } from '../scheduling/job-table.ts';
import { NotOwned } from '../scheduling/not-owned.ts';

/** Throws `NotOwned` when the partition is another's from some moment on. */
export async function* watchJob(
  table: JobTable,
  uid: string,
  partition: number,
  signal: AbortSignal,
): AsyncGenerator<Job> {
  const changes = new Changes(signal);
  using _watch = table.watch(uid, () => changes.note());
  while (!signal.aborted) {
    const job = await table.view(uid);
    // Only the owner learns of changes.
    if (!isOver(job.state) && !table.owns(partition)) throw new NotOwned();
    yield job;
    if (isOver(job.state)) return;
    await changes.next();
  }
}

/** Remembers that something changed until it is asked for. */
export class Changes {
  #changed = false;
  #wake: (() => void) | undefined;

  constructor(signal: AbortSignal) {
    signal.addEventListener('abort', () => this.note(), { once: true });
  }

  note(): void {
    this.#changed = true;
    this.#wake?.();
  }

  async next(): Promise<void> {
    if (!this.#changed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#changed = false;
    this.#wake = undefined;
  }
}
