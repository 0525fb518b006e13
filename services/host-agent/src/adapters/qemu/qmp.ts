/**
 * A client of QEMU's monitor protocol over its unix socket (QEMU docs/interop/qmp-spec.txt). One client a
 * monitor: QEMU lets a second one hang. When the connection ends, every open command fails with `Unavailable`
 * and `closed` resolves; whether QEMU itself has ended is for the caller to prove.
 */
import { connect, type Socket } from 'node:net';
import { type Clock, Precondition, Unavailable } from '@nephos/service';

export interface QmpEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface QmpOptions {
  readonly clock: Clock;
  /** For the connection with its greeting, and for each command unless told otherwise. Default 10,000. */
  readonly timeoutMs?: number;
  /** Called for each event, in order. Must not throw. */
  readonly onEvent?: (event: QmpEvent) => void;
  /** Ends the connection, or the attempt. */
  readonly signal?: AbortSignal;
}

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (fault: Error) => void;
}

type Message = Readonly<Record<string, unknown>>;

/** QEMU's longest answers have some hundred KiB. */
const longestLine = 16 * 2 ** 20;

export class QmpClient implements AsyncDisposable {
  /** Resolves when the connection has ended, for whatever reason. */
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #onEvent: (event: QmpEvent) => void;
  readonly #waiting = new Map<string, Waiting>();
  #nextId = 1;
  #rest = '';

  private constructor(socket: Socket, options: QmpOptions) {
    this.#socket = socket;
    this.#clock = options.clock;
    this.#timeoutMs = options.timeoutMs ?? 10_000;
    this.#onEvent = options.onEvent ?? (() => {});
    socket.setEncoding('utf8');
    // What `close` tells is enough; without a listener an error would end the process.
    socket.on('error', () => {});
    options.signal?.addEventListener('abort', this.#hangUp, { once: true });
    socket.on('data', (text: string) => this.#read(text));
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        options.signal?.removeEventListener('abort', this.#hangUp);
        for (const { reject } of this.#waiting.values()) reject(gone());
        this.#waiting.clear();
        resolve();
      });
    });
  }

  /** Connects, waits for the greeting and enters command mode. Throws `Unavailable`. */
  static async connect(path: string, options: QmpOptions): Promise<QmpClient> {
    const socket = connect(path);
    const client = new QmpClient(socket, options);
    try {
      await client.#answer('greeting', client.#timeoutMs, () => {});
      await client.execute('qmp_capabilities');
      return client;
    } catch (fault) {
      await client[Symbol.asyncDispose]();
      throw fault;
    }
  }

  /** Throws `Precondition` with QEMU's words when it refuses, `Unavailable` when it does not answer in time. */
  async execute(
    command: string,
    args: Readonly<Record<string, unknown>> = {},
    { timeoutMs = this.#timeoutMs } = {},
  ): Promise<unknown> {
    const id = String(this.#nextId);
    this.#nextId += 1;
    const line = `${JSON.stringify({ execute: command, arguments: args, id })}\r\n`;
    return await this.#answer(id, timeoutMs, () => this.#socket.write(line));
  }

  readonly #hangUp = () => {
    this.#socket.destroy();
  };

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy();
    await this.closed;
  }

  async #answer(id: string, timeoutMs: number, ask: () => void): Promise<unknown> {
    if (this.#socket.destroyed) throw gone();
    using limit = new DisposableStack();
    return await new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      limit.use(
        this.#clock.timer(timeoutMs, () => {
          this.#waiting.delete(id);
          reject(
            new Unavailable('HYPERVISOR_FAILED', `QEMU's monitor did not answer within ${timeoutMs} ms.`),
          );
        }),
      );
      ask();
    });
  }

  #read(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    if (this.#rest.length > longestLine) this.#socket.destroy();
    for (const line of lines) if (line.trim() !== '') this.#take(line);
  }

  #take(line: string): void {
    let message: Message;
    try {
      const parsed: unknown = JSON.parse(line);
      if (!isMessage(parsed)) return;
      message = parsed;
    } catch {
      this.#socket.destroy();
      return;
    }
    if (typeof message['event'] === 'string') {
      this.#onEvent({ event: message['event'], data: isMessage(message['data']) ? message['data'] : {} });
    } else if ('QMP' in message) {
      this.#settle('greeting', (waiting) => waiting.resolve(message['QMP']));
    } else if (typeof message['id'] === 'string') {
      this.#settle(message['id'], (waiting) => {
        if (isMessage(message['error'])) waiting.reject(refused(message['error']));
        else waiting.resolve(message['return']);
      });
    }
  }

  #settle(id: string, how: (waiting: Waiting) => void): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (waiting) how(waiting);
  }
}

export function isMessage(value: unknown): value is Message {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function refused(error: Message): Precondition {
  return new Precondition('HYPERVISOR_FAILED', `QEMU refused: ${String(error['desc'])}`, {
    metadata: { qmp_class: String(error['class']) },
  });
}

function gone(): Unavailable {
  return new Unavailable('HYPERVISOR_FAILED', "The connection to QEMU's monitor has ended.");
}
