/**
 * The stream to one instance of job control: connects, says hello, beats, carries reports out and orders in, and
 * begins anew when it breaks. Jobs outlive it: they are detached when it ends and announced on the next.
 */
import {
  type ConnectRequest,
  type ExecutorHello,
  type ExecutorOrder,
  type ExecutorReport,
  ExecutorServiceDefinition,
  type JobReport,
} from '@nephos/proto/nephos/jobs/v1/executor';
import { type Clients, type Clock, pauseAfter, runAs } from '@nephos/service';
import type { Logger } from 'pino';
import { Frames } from '../frames.ts';
import type { ReportSink } from './held-job.ts';

/** What the link needs of its executor. */
export interface LinkOwner {
  hello(link: ControlLink): ExecutorHello;
  handle(link: ControlLink, order: ExecutorOrder): void;
  /** The stream is gone. */
  lost(link: ControlLink): void;
}

export interface LinkOptions {
  readonly address: string;
  readonly owner: LinkOwner;
  readonly clients: Clients;
  readonly clock: Clock;
  readonly log: Logger;
}

const backoff = { firstMs: 100, maxMs: 2000 };

export class ControlLink implements ReportSink {
  readonly address: string;
  readonly #options: LinkOptions;
  readonly #stopping = new AbortController();
  #frames: Frames<ExecutorReport> | undefined;
  #loop: Promise<void> | undefined;
  /** False: the directory does not list it any more; the stream that stands is used to its end. */
  #wanted = true;

  constructor(options: LinkOptions) {
    this.address = options.address;
    this.#options = options;
  }

  get connected(): boolean {
    return this.#frames !== undefined;
  }

  start(): void {
    this.#loop ??= runAs({}, () => this.#run());
  }

  /** Whether to connect again when the stream ends. */
  want(wanted: boolean): void {
    this.#wanted = wanted;
  }

  get wanted(): boolean {
    return this.#wanted;
  }

  get over(): boolean {
    return !this.#wanted && !this.connected;
  }

  report(job: JobReport): void {
    this.send({ report: { $case: 'job', value: job } });
  }

  send(report: ExecutorReport): void {
    this.#frames?.push(report);
  }

  /** Says what is left to say, then ends the stream for good. */
  async close(): Promise<void> {
    this.#wanted = false;
    if (this.#frames === undefined) this.#stopping.abort();
    this.#frames?.end();
    using _limit = this.#options.clock.timer(1000, () => this.#stopping.abort());
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { clock, log } = this.#options;
    const { signal } = this.#stopping;
    for (let attempt = 1; this.#wanted && !signal.aborted; attempt += 1) {
      const began = clock.monotonic();
      try {
        await this.#connect(signal);
      } catch (error) {
        log.debug({ err: error, address: this.address }, 'the stream to job control broke');
      }
      if (clock.monotonic() - began > 5000) attempt = 1;
      if (this.#wanted) await clock.sleep(pauseAfter(attempt, backoff), signal).catch(() => {});
    }
  }

  async #connect(signal: AbortSignal): Promise<void> {
    const { clients, clock, owner } = this.#options;
    const frames = new Frames<ExecutorReport>(textOf);
    const service = clients.of(ExecutorServiceDefinition, this.address, { service: 'job-control' });
    let beat: Disposable | undefined;
    try {
      frames.push({ report: { $case: 'hello', value: owner.hello(this) } });
      for await (const { orders } of service.connect(requestsOf(frames), { signal })) {
        for (const order of orders) {
          if (order.order?.$case === 'welcome') {
            this.#frames = frames;
            beat?.[Symbol.dispose]();
            const beatReport: ExecutorReport = { report: { $case: 'heartbeat', value: {} } };
            beat = clock.every(Number(order.order.value.heartbeatInterval), () => frames.push(beatReport));
          }
          owner.handle(this, order);
        }
      }
    } finally {
      this.#frames = undefined;
      beat?.[Symbol.dispose]();
      frames.end();
      owner.lost(this);
    }
  }
}

/** How much JSON text a report carries. */
function textOf({ report }: ExecutorReport): number {
  const body = report?.$case === 'job' ? report.value.report : undefined;
  switch (body?.$case) {
    case 'stepFinished':
    case 'stepUndone':
      return (body.value.step?.input.length ?? 0) + (body.value.step?.result.length ?? 0);
    case 'child':
      return JSON.stringify(body.value.job?.input ?? {}).length;
    case 'finished':
      return body.value.outcome?.$case === 'result' ? body.value.outcome.value.length : 0;
    default:
      return 0;
  }
}

async function* requestsOf(frames: Frames<ExecutorReport>): AsyncGenerator<ConnectRequest> {
  for await (const reports of frames) yield { reports: [...reports] };
}
