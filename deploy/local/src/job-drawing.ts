/** Draws a job as it goes: each step once it is done, and what is under way in the live line. */
import { type Job, type JobStep, JobStepState } from '@nephos/proto/nephos/jobs/v1/jobs';
import type { Screen } from './screen.ts';

export class JobDrawing {
  readonly #screen: Screen;
  readonly #drawn = new Map<string, JobStepState>();
  #said = '';

  constructor(screen: Screen) {
    this.#screen = screen;
  }

  draw(job: Job): void {
    for (const step of job.steps) this.#drawStep(step);
    const { percent = 0, message = '' } = job.progress ?? {};
    const running = job.steps.find(({ state }) => state === JobStepState.RUNNING);
    const doing = message || running?.name || '';
    this.#screen.live(doing === '' ? '' : `  … ${job.type}  ${String(percent).padStart(3)} %  ${doing}`);
    this.#said = doing;
  }

  /** Takes the live line away. */
  end(): void {
    if (this.#said !== '') this.#screen.live('');
  }

  #drawStep(step: JobStep): void {
    if (this.#drawn.get(step.name) === step.state) return;
    this.#drawn.set(step.name, step.state);
    const { name, startTime, endTime, error } = step;
    const took = startTime && endTime ? endTime.getTime() - startTime.getTime() : undefined;
    if (step.state === JobStepState.SUCCEEDED) this.#screen.done(`  ${name}`, '', took);
    if (step.state === JobStepState.FAILED) this.#screen.failed(`  ${name}`, error?.message ?? '', took);
    if (step.state === JobStepState.UNDONE) this.#screen.warn(`    ${name} was undone`);
  }
}
