/**
 * Runs qemu-img. Formats are always named, never probed; paths are absolute, so that none is taken for a
 * protocol; each run has limits of memory, processor and time, since a hostile image can make it want all.
 * A crash leaves at most a file `*.partial`, which the next try of the same path overwrites.
 */
import { spawn } from 'node:child_process';
import { open, rename } from 'node:fs/promises';
import path from 'node:path';
import { type Clock, Internal, Invalid, Unavailable } from '@nephos/service';

export interface QemuImgOptions {
  readonly clock: Clock;
  /** Default `qemu-img`, found on the PATH. */
  readonly binary?: string;
  /** A run that takes longer is killed. Default 60,000; checking has ten times as long. */
  readonly timeoutMs?: number;
  /** Address space of a run. Default 1 GiB. */
  readonly memoryBytes?: number;
}

/** What `qemu-img info` says of one file. */
export interface ImageInfo {
  readonly format: string;
  readonly virtualSizeBytes: number;
  /** What the file takes on the disk. */
  readonly actualSizeBytes: number;
  readonly backingFile: string | undefined;
  readonly dataFile: string | undefined;
  readonly encrypted: boolean;
}

/** What `qemu-img check` says of one file. */
export interface ImageCheck {
  readonly corruptions: number;
  readonly checkErrors: number;
  readonly leaks: number;
  /** References to what lies past the end of the file: it was cut off. */
  readonly beyondEnd: number;
}

export interface OverlayOptions {
  readonly path: string;
  readonly base: string;
  readonly baseFormat: 'qcow2' | 'raw';
  /** What the guest sees, in bytes; the base's own size if left out. */
  readonly sizeBytes?: number;
}

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const mostOutputBytes = 4 * 2 ** 20;

export class QemuImg {
  readonly #clock: Clock;
  readonly #binary: string;
  readonly #timeoutMs: number;
  readonly #memoryBytes: number;

  constructor(options: QemuImgOptions) {
    this.#clock = options.clock;
    this.#binary = options.binary ?? 'qemu-img';
    this.#timeoutMs = options.timeoutMs ?? 60_000;
    this.#memoryBytes = options.memoryBytes ?? 2 ** 30;
  }

  /** `live`: the image is open in a running QEMU (`-U`). Throws `Invalid` if the file is no such image. */
  async info(file: string, format: 'qcow2' | 'raw', { live = false } = {}): Promise<ImageInfo> {
    const share = live ? ['-U'] : [];
    const outcome = await this.#run(['info', '--output=json', ...share, '-f', format, absolute(file)]);
    if (outcome.code !== 0) throw unreadable(outcome);
    const said = parseRecord(outcome.stdout);
    const specific = recordAt(recordAt(said, 'format-specific'), 'data');
    return {
      format: textAt(said, 'format') ?? format,
      virtualSizeBytes: numberAt(said, 'virtual-size'),
      actualSizeBytes: numberAt(said, 'actual-size'),
      backingFile: textAt(said, 'backing-filename'),
      dataFile: textAt(specific, 'data-file'),
      encrypted: said['encrypted'] === true,
    };
  }

  /** Reads all tables of a qcow2 that no QEMU has open. Changes nothing. */
  async check(file: string): Promise<ImageCheck> {
    const args = ['check', '--output=json', '-f', 'qcow2', absolute(file)];
    const outcome = await this.#run(args, this.#timeoutMs * 10);
    // 2 is corrupt, 3 leaks: both come with a report. 1 and 63 come with none.
    if (![0, 2, 3].includes(outcome.code)) throw unreadable(outcome);
    const said = parseRecord(outcome.stdout);
    return {
      corruptions: numberAt(said, 'corruptions'),
      checkErrors: numberAt(said, 'check-errors'),
      leaks: numberAt(said, 'leaks'),
      // Counted nowhere in the report: QEMU only says so, a line each.
      beyondEnd: outcome.stderr.split('exceeding the end of the file').length - 1,
    };
  }

  /** Makes a qcow2 over a base that stays as it is. Whole and durable when this returns. */
  async createOverlay(options: OverlayOptions): Promise<void> {
    const size = options.sizeBytes === undefined ? [] : [String(options.sizeBytes)];
    const over = ['-b', absolute(options.base), '-F', options.baseFormat];
    await this.#make(options.path, (partial) => ['create', '-q', '-f', 'qcow2', ...over, partial, ...size]);
  }

  /** Makes an empty qcow2. Whole and durable when this returns. */
  async create(file: string, sizeBytes: number): Promise<void> {
    await this.#make(file, (partial) => ['create', '-q', '-f', 'qcow2', partial, String(sizeBytes)]);
  }

  /** Makes an image that no QEMU has open larger; shrinking is refused by qemu-img. */
  async resize(file: string, format: 'qcow2' | 'raw', sizeBytes: number): Promise<void> {
    const outcome = await this.#run(['resize', '-q', '-f', format, absolute(file), String(sizeBytes)]);
    if (outcome.code !== 0) throw failed(outcome.stderr);
  }

  async #make(file: string, args: (partial: string) => string[]): Promise<void> {
    const partial = `${absolute(file)}.partial`;
    const outcome = await this.#run(args(partial));
    if (outcome.code !== 0) throw failed(outcome.stderr);
    await sync(partial);
    await rename(partial, file);
    await sync(path.dirname(file));
  }

  async #run(args: readonly string[], timeoutMs = this.#timeoutMs): Promise<Outcome> {
    const cpuSeconds = Math.ceil(timeoutMs / 1000);
    const limits = [`--as=${this.#memoryBytes}`, `--cpu=${cpuSeconds}`, '--core=0'];
    const child = spawn('prlimit', [...limits, '--', this.#binary, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env['PATH'], LC_ALL: 'C' },
    });
    let late = false;
    using _limit = this.#clock.timer(timeoutMs, () => {
      late = true;
      child.kill('SIGKILL');
    });
    const [stdout, stderr, code] = await Promise.all([
      collect(child.stdout),
      collect(child.stderr),
      new Promise<number | null>((resolve, reject) => {
        child.once('error', reject);
        child.once('close', resolve);
      }).catch((cause: unknown) => {
        throw new Unavailable('STORAGE_FAILED', 'qemu-img could not be run: are qemu-utils installed?', {
          cause,
        });
      }),
    ]);
    if (code === null) throw failed(late ? `not done after ${timeoutMs} ms` : 'over its limits');
    if (code === 127) throw failed(stderr);
    return { code, stdout, stderr };
  }
}

async function collect(stream: NodeJS.ReadableStream): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of stream) {
    length += part.length;
    if (length <= mostOutputBytes) parts.push(Buffer.from(part));
  }
  return Buffer.concat(parts).toString();
}

async function sync(file: string): Promise<void> {
  await using handle = await open(file, 'r');
  await handle.sync();
}

function absolute(file: string): string {
  if (!path.isAbsolute(file)) throw new Internal('INTERNAL', `image paths are absolute: ${file}`);
  return file;
}

function failed(said: string): Unavailable {
  return new Unavailable('STORAGE_FAILED', `qemu-img: ${said.trim()}`);
}

function unreadable(outcome: Outcome): Invalid {
  return new Invalid('IMAGE_CORRUPT', `The image cannot be read. ${outcome.stderr.trim()}`);
}

type JsonRecord = Readonly<Record<string, unknown>>;

function isRecord(value: unknown): value is JsonRecord {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parseRecord(json: string): JsonRecord {
  const value: unknown = JSON.parse(json);
  if (!isRecord(value)) throw failed('its report is no JSON object');
  return value;
}

function recordAt(record: JsonRecord, key: string): JsonRecord {
  const value = record[key];
  return isRecord(value) ? value : {};
}

function textAt(record: JsonRecord, key: string): string | undefined {
  const value = record[key];
  return typeof value === 'string' ? value : undefined;
}

function numberAt(record: JsonRecord, key: string): number {
  const value = record[key];
  return typeof value === 'number' ? value : 0;
}
