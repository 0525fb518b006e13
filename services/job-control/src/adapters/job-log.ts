/**
 * The jobs' own logs: a bounded tail of lines a job, for whoever looks into it later (RFC, tracking).
 * Lines are kept in memory and written together every second and when the job is over. A crash loses the last
 * second of lines, never a job.
 */
import type { Clock } from '@nephos/service';
import type { Collection } from '@nephos/store';
import type { Logger } from 'pino';
import type { JobRecord } from '../domain/record.ts';
import type { LogLine, LogRecord } from './collections.ts';

const mostLines = 500;

interface Tail {
  readonly record: JobRecord;
  readonly lines: LogLine[];
}

export interface JobLogOptions {
  readonly logs: Collection<LogRecord>;
  readonly clock: Clock;
  readonly log: Logger;
  /** A line came in. */
  readonly onLine: (uid: string) => void;
}

export class JobLog {
  readonly #options: JobLogOptions;
  readonly #unwritten = new Map<string, Tail>();
  #flushing: Promise<void> = Promise.resolve();

  constructor(options: JobLogOptions) {
    this.#options = options;
  }

  add(record: JobRecord, step: string, text: string): void {
    const { uid } = record.header;
    const tail: Tail = this.#unwritten.get(uid) ?? { record, lines: [] };
    this.#unwritten.set(uid, tail);
    tail.lines.push({ number: 0, at: this.#options.clock.now().getTime(), step, text });
    if (tail.lines.length > mostLines) tail.lines.shift();
    this.#options.onLine(uid);
  }

  /** Writes what is left of a job soon: it is over. */
  close(uid: string): void {
    if (this.#unwritten.has(uid)) void this.flush();
  }

  /** The job's lines, those not written yet included. */
  async read(uid: string): Promise<LogRecord | undefined> {
    if (this.#unwritten.has(uid)) await this.flush();
    return (await this.#options.logs.get(uid))?.value;
  }

  /** Writes until aborted, and once more. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#options.clock.sleep(1000, signal).catch(() => {});
      await this.flush();
    }
  }

  flush(): Promise<void> {
    this.#flushing = this.#flushing.then(() => this.#write());
    return this.#flushing;
  }

  async #write(): Promise<void> {
    const tails = [...this.#unwritten];
    this.#unwritten.clear();
    await Promise.all(tails.map(([uid, tail]) => this.#append(uid, tail)));
  }

  async #append(uid: string, { record, lines }: Tail): Promise<void> {
    const { logs, log } = this.#options;
    try {
      const { root, requestId, traceparent } = record;
      const before = await logs.get(uid);
      if (before === undefined)
        await logs.insert(uid, appended({ root, requestId, traceparent, count: 0, lines: [] }, lines));
      else await logs.modify(uid, ({ value }) => ({ value: appended(value, lines) }));
    } catch (error) {
      log.warn({ err: error, job: uid }, "lines of a job's log were lost");
    }
  }
}

function appended(record: LogRecord, lines: readonly LogLine[]): LogRecord {
  const numbered = lines.map((line, at) => ({ ...line, number: record.count + at + 1 }));
  return {
    ...record,
    count: record.count + lines.length,
    lines: [...record.lines, ...numbered].slice(-mostLines),
  };
}
