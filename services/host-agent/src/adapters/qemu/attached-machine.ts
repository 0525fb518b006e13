/**
 * One QEMU process that lives, and our connection to its monitor. Follows it until it is proved gone: a lost
 * connection alone proves nothing, so it reconnects, and says `unknown` when that takes long. Letting go of it
 * (`asyncDispose`) leaves the process as it is; the next agent attaches anew.
 */
import { type Clock, Unavailable } from '@nephos/service';
import { type Seen, seenGone, seenInRunState } from '../../domain/qemu/observation.ts';
import { lastWords } from './launch.ts';
import type { FolderPaths, MachineRecord } from './machine-folder.ts';
import { isAlive, kill, type ProcessIdentity } from './processes.ts';
import { isMessage, QmpClient, type QmpEvent } from './qmp.ts';

export interface AttachOptions {
  readonly clock: Clock;
  readonly paths: FolderPaths;
  readonly process: ProcessIdentity;
  /** Of a process that this agent spawned. */
  readonly exit?: Promise<string>;
  readonly record: MachineRecord;
  /** Called for each change that is seen; the last one is `gone`, and `done` waits for it. */
  readonly onSeen: (machine: AttachedMachine, seen: Seen) => Promise<void> | void;
}

const retryMs = 25;
const slowestRetryMs = 500;
/** Without a monitor for that long, the state is unknown. */
const patienceMs = 5_000;
const pressAgainMs = 3_000;
const endWithinMs = 5_000;
/** The exit of a process that we spawned is told a little after the kernel shows it gone. */
const exitToldWithinMs = 500;

export class AttachedMachine implements AsyncDisposable {
  readonly process: ProcessIdentity;
  /** Resolves when the process is gone and that was dealt with, or when this was disposed. */
  readonly done: Promise<void>;
  /** The driver's; it replaces it with each write. */
  record: MachineRecord;
  seen: Seen = { state: 'unknown', cause: 'none', message: 'not connected yet' };
  readonly #options: AttachOptions;
  readonly #clock: Clock;
  readonly #letGo = new AbortController();
  readonly #watchers = new Set<() => void>();
  #client: QmpClient | undefined;
  #runState = '';
  #shutdownReason: string | undefined;
  #hurry = new AbortController();
  #pressed = false;

  constructor(options: AttachOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.process = options.process;
    this.record = options.record;
    this.done = this.#follow();
  }

  /** QEMU's own word for its state, as last told; empty before it was. */
  get runState(): string {
    return this.#runState;
  }

  /** Waits until the monitor has answered once or the machine is gone; false if neither came in time. */
  async ready(timeoutMs: number): Promise<boolean> {
    return await this.#until(() => this.#runState !== '' || this.seen.state === 'gone', timeoutMs);
  }

  /** Asks QEMU anew. Never throws: what cannot be told is `unknown`. */
  async observe(): Promise<Seen> {
    if (this.seen.state === 'gone') return this.seen;
    try {
      await this.#refresh();
    } catch {
      // The connection's end, if it is one, is dealt with by #follow.
      if (await isAlive(this.process)) await this.#see(noAnswer);
      else await this.done;
    }
    return this.seen;
  }

  async resume(): Promise<void> {
    await this.#execute('cont');
    await this.#refresh();
  }

  /** Resets the guest; one that had powered itself off runs again. */
  async reset(): Promise<void> {
    await this.#execute('system_reset');
    this.#pressed = false;
    if (this.#runState !== 'running') await this.#execute('cont');
    await this.#refresh();
  }

  /** Presses the power button until the guest is off, at most for `graceMs`; true if it went off by itself. */
  async shutDown(graceMs: number): Promise<boolean> {
    this.#hurry = new AbortController();
    this.#pressed = true;
    const end = this.#clock.monotonic() + graceMs;
    const isOff = () => this.seen.state === 'powered-off' || this.seen.state === 'gone';
    const { signal } = this.#hurry;
    while (!isOff() && !signal.aborted && this.#clock.monotonic() < end) {
      // A guest that is still booting does not hear the button: it is pressed again.
      await this.#execute('system_powerdown').catch(() => {});
      const left = Math.max(0, end - this.#clock.monotonic());
      await this.#until(() => isOff() || signal.aborted, Math.min(left, pressAgainMs));
    }
    return isOff();
  }

  /** Ends a grace that is being waited for. */
  hurry(): void {
    this.#hurry.abort();
    this.#wake();
  }

  /** Ends the process and proves it. Throws `Unavailable` where even that cannot be done. */
  async end(): Promise<void> {
    await this.#execute('quit').catch(() => {});
    if (!(await this.#endsWithin(endWithinMs))) {
      await kill(this.process);
      if (!(await this.#endsWithin(endWithinMs))) {
        throw new Unavailable('HYPERVISOR_FAILED', `QEMU's process ${this.process.pid} does not end.`);
      }
    }
    await this.done;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#letGo.abort();
    await this.done;
  }

  async #follow(): Promise<void> {
    let waitMs = retryMs;
    let lastAnswer = this.#clock.monotonic();
    while (!this.#letGo.signal.aborted) {
      // What cannot be looked at just now (no file handles left) may live: it is looked at again.
      const alive = await isAlive(this.process).catch(() => true);
      if (!alive) return await this.#see(await this.#whyGone());
      if (await this.#converse()) {
        waitMs = retryMs;
        lastAnswer = this.#clock.monotonic();
      }
      if (this.#clock.monotonic() - lastAnswer > patienceMs) await this.#see(noAnswer);
      await this.#clock.sleep(waitMs, this.#letGo.signal).catch(() => {});
      waitMs = Math.min(waitMs * 2, slowestRetryMs);
    }
  }

  /** Talks to the monitor until the connection ends; false if none came about. */
  async #converse(): Promise<boolean> {
    try {
      await using client = await QmpClient.connect(this.#options.paths.qmp, {
        clock: this.#clock,
        signal: this.#letGo.signal,
        onEvent: (event) => this.#hear(event),
      });
      this.#client = client;
      await this.#refresh();
      await client.closed;
      return true;
    } catch {
      return false;
    } finally {
      this.#client = undefined;
    }
  }

  #hear({ event, data }: QmpEvent): void {
    if (event === 'SHUTDOWN') this.#shutdownReason = String(data['reason']);
    const guestReset = event === 'RESET' && data['reason'] === 'guest-reset';
    if (guestReset)
      void this.#tell({ state: 'running', cause: 'guest', message: 'the guest restarted itself' });
    else if (changesState.has(event)) this.#refresh().catch(() => {});
  }

  async #refresh(): Promise<void> {
    const answer = await this.#execute('query-status');
    this.#runState = isMessage(answer) ? String(answer['status']) : '';
    const asked = this.record.run.ending ?? (this.#pressed ? 'requested' : undefined);
    await this.#see(seenInRunState(this.#runState, asked));
  }

  async #see(seen: Seen): Promise<void> {
    const before = this.seen;
    const same = before.state === seen.state && (before.cause === seen.cause || seen.state === 'running');
    if (before.state !== 'gone' && !same) await this.#tell(seen);
    this.#wake();
  }

  async #tell(seen: Seen): Promise<void> {
    this.seen = seen;
    await this.#options.onSeen(this, seen);
  }

  async #whyGone(): Promise<Seen> {
    const { exit, paths } = this.#options;
    const how = exit && (await Promise.race([exit, this.#clock.sleep(exitToldWithinMs)]));
    return seenGone({
      ending: this.record.run.ending,
      shutdownReason: this.#shutdownReason,
      exit: how ?? undefined,
      lastWords: await lastWords(paths.qemuLog),
    });
  }

  async #execute(command: string): Promise<unknown> {
    if (!this.#client) throw new Unavailable('HYPERVISOR_FAILED', "QEMU's monitor is out of reach.");
    return await this.#client.execute(command);
  }

  async #endsWithin(ms: number): Promise<boolean> {
    const end = this.#clock.monotonic() + ms;
    while (await isAlive(this.process)) {
      if (this.#clock.monotonic() > end) return false;
      await this.#clock.sleep(retryMs);
    }
    return true;
  }

  async #until(condition: () => boolean, ms: number): Promise<boolean> {
    if (condition()) return true;
    using cleanup = new DisposableStack();
    return await new Promise((resolve) => {
      const watcher = () => condition() && resolve(true);
      this.#watchers.add(watcher);
      cleanup.defer(() => this.#watchers.delete(watcher));
      cleanup.use(this.#clock.timer(ms, () => resolve(condition())));
    });
  }

  #wake(): void {
    for (const watcher of this.#watchers) watcher();
  }
}

const changesState = new Set([
  ...['STOP', 'RESUME', 'SHUTDOWN', 'RESET', 'SUSPEND', 'WAKEUP', 'GUEST_PANICKED', 'BLOCK_IO_ERROR'],
]);

const noAnswer: Seen = { state: 'unknown', cause: 'none', message: "QEMU's monitor does not answer" };
