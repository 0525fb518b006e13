/**
 * The QEMU driver: runs machines on this host and says what it sees of them. It holds nothing that it could not
 * find again: machines outlive it, records lie in `<root>/vms`, processes in /proc. Work on one machine is done
 * one after the other; different machines do not wait for each other.
 *
 * It decides nothing about who may touch a machine (fences are the service's) and never touches one that it did
 * not start. What a crash leaves: machines that run on; a record `starting` whose guest never ran an instruction
 * and which a repeated start takes up.
 */
import { KeyedQueue } from '@nephos/plugin';
import { type Clock, Precondition, Unavailable } from '@nephos/service';
import type { Logger } from 'pino';
import { commandLine, processNamePrefix } from '../../domain/qemu/command-line.ts';
import { type MachineSpec, pin } from '../../domain/qemu/machine.ts';
import type { MachineCause, MachineObservation, Seen } from '../../domain/qemu/observation.ts';
import { AttachedMachine } from './attached-machine.ts';
import { lastWords, launch } from './launch.ts';
import { MachineFolders, type MachineRecord, type RunRecord } from './machine-folder.ts';
import type { QemuInstallation } from './probe.ts';
import { isAlive, type ProcessIdentity, type QemuProcess, runningQemus } from './processes.ts';
import { readSerialLog, type SerialPiece, trimSerialLog } from './serial-log.ts';

export interface QemuDriverOptions {
  /** Where records and logs are kept. One driver a root. */
  readonly root: string;
  /** A short path for sockets; `defaultSocketFolder(root)` if left out. */
  readonly socketFolder?: string;
  /** From `probeQemu`. */
  readonly installation: QemuInstallation;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface StopOptions {
  /** The run to stop; another one is left alone. Any, if left out. */
  readonly incarnationUid?: string;
  /** How long the guest may take to shut down by itself before its power is cut; 0 cuts it at once. */
  readonly graceMs: number;
  /** What observations will say. `host-shutdown`: it should run again when the host is back. */
  readonly cause?: Extract<MachineCause, 'requested' | 'host-shutdown'>;
}

export interface RebootOptions {
  readonly incarnationUid: string;
  /** Equal in a retry: a machine is not reset twice for the same one. */
  readonly rebootUid: string;
  /** How long the guest may take to shut down in order before it is reset; 0 resets it at once. */
  readonly graceMs?: number;
}

/** QEMU opens its monitor within a second; on a host under load it may take longer. */
const readyWithinMs = 30_000;
/** One machine that hangs must not keep the agent from coming back: it is `unknown` until it answers. */
const foundAgainWithinMs = 3_000;
const trimEveryMs = 30_000;

export class QemuDriver implements AsyncDisposable {
  readonly installation: QemuInstallation;
  readonly #folders: MachineFolders;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #machines = new Map<string, AttachedMachine>();
  readonly #queue = new KeyedQueue();
  readonly #listeners = new Set<(observation: MachineObservation) => void>();
  readonly #timers = new DisposableStack();

  private constructor(options: QemuDriverOptions) {
    this.installation = options.installation;
    this.#folders = new MachineFolders(options.root, options.socketFolder);
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /** Finds every machine of the root again and attaches to those that live. */
  static async open(options: QemuDriverOptions): Promise<QemuDriver> {
    const driver = new QemuDriver(options);
    await driver.#folders.prepare();
    await driver.#recover();
    driver.#timers.use(driver.#clock.every(trimEveryMs, () => driver.#trimLogs()));
    return driver;
  }

  /** Each change from now on; what is so already, `list` tells. */
  onObservation(listener: (observation: MachineObservation) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  /**
   * Runs an incarnation, once: running already is success, and one that ran and is gone is not run again
   * (`gone` is returned). Throws `Invalid` for a spec that cannot be run, `Precondition` when another
   * incarnation runs (`STATE_FORBIDS`) or QEMU refuses (`HYPERVISOR_FAILED`), `Unavailable` otherwise.
   */
  async start(spec: MachineSpec): Promise<MachineObservation> {
    return await this.#queue.run(spec.vmUid, () => this.#start(spec));
  }

  /** Not running is success. Throws `Unavailable` if the process cannot be ended. */
  async stop(vmUid: string, options: StopOptions): Promise<MachineObservation> {
    if (options.graceMs === 0) this.#machines.get(vmUid)?.hurry();
    return await this.#queue.run(vmUid, async () => {
      const machine = await this.#find(vmUid);
      if (!machine || !isMeant(machine, options.incarnationUid)) return await this.status(vmUid);
      await this.#save(machine, { ending: options.cause ?? 'requested' });
      if (options.graceMs > 0) await machine.shutDown(options.graceMs);
      await machine.end();
      return await this.status(vmUid);
    });
  }

  /** Resets a machine that lives, or starts its guest anew if that had powered itself off. */
  async reboot(vmUid: string, options: RebootOptions): Promise<MachineObservation> {
    return await this.#queue.run(vmUid, async () => {
      const machine = await this.#find(vmUid);
      if (!machine || !isMeant(machine, options.incarnationUid)) {
        throw new Precondition('STATE_FORBIDS', 'That run of the machine is not there to be rebooted.');
      }
      if (machine.record.run.rebootUid !== options.rebootUid) {
        await this.#save(machine, { rebootUid: options.rebootUid });
        if (options.graceMs) await machine.shutDown(options.graceMs);
        await machine.reset();
      }
      return this.#observation(machine.record, await machine.observe());
    });
  }

  /** Forgets a stopped machine: record and logs. Not there is success. Its disks are not the driver's. */
  async remove(vmUid: string): Promise<void> {
    await this.#queue.run(vmUid, async () => {
      if (await this.#find(vmUid)) {
        throw new Precondition(
          'STATE_FORBIDS',
          'The machine runs, or its process is there still: stop it first.',
        );
      }
      await this.#folders.remove(vmUid);
    });
  }

  /** What is seen of one machine now. `gone` where there is none. */
  async status(vmUid: string): Promise<MachineObservation> {
    const machine = this.#machines.get(vmUid);
    if (machine && (await machine.observe()).state !== 'gone') {
      return this.#observation(machine.record, machine.seen);
    }
    const record = await this.#folders.read(vmUid);
    if (record) return this.#observation(record, seenInRecord(record));
    const [stranger] = await this.#strangers(new Set(), vmUid);
    return stranger ? this.#unmanaged(stranger) : this.#strange(vmUid, nothingThere);
  }

  /** What is seen of every machine now, those that nobody here started among them. */
  async list(): Promise<MachineObservation[]> {
    const uids = new Set((await this.#folders.all()).map(({ spec }) => spec.vmUid));
    const ours = await Promise.all([...uids].map((vmUid) => this.status(vmUid)));
    const strangers = await this.#strangers(uids);
    return [...ours, ...strangers.map((each) => this.#unmanaged(each))];
  }

  /** What the guest said on its serial console; a negative offset counts from the end. */
  async readSerial(vmUid: string, offset: number, maxBytes: number): Promise<SerialPiece> {
    return await readSerialLog(this.#folders.paths(vmUid).serialLog, offset, maxBytes);
  }

  /** Unix sockets of a running machine: its screen, its serial line, and a monitor for people and tools. */
  sockets(vmUid: string): { readonly vnc: string; readonly serial: string; readonly monitor: string } {
    const { vnc, serialSocket, spareQmp } = this.#folders.paths(vmUid);
    return { vnc, serial: serialSocket, monitor: spareQmp };
  }

  /** Lets go of all machines; they run on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#timers.dispose();
    this.#listeners.clear();
    await Promise.all([...this.#machines.values()].map((machine) => machine[Symbol.asyncDispose]()));
    this.#machines.clear();
  }

  async #recover(): Promise<void> {
    const processes = await runningQemus();
    const records = await this.#folders.all();
    await Promise.all(
      records.map(async (record) => {
        const running = processes.find((each) => this.#isOf(each, record.spec.vmUid));
        if (running) await this.#attach(record, running).ready(foundAgainWithinMs);
        else if (record.run.phase === 'started') await this.#recordEnd(record, lost(record));
      }),
    );
  }

  async #start(spec: MachineSpec): Promise<MachineObservation> {
    const { vmUid, incarnationUid } = spec;
    const paths = this.#folders.paths(vmUid);
    const pinned = { ...pin(spec.pinned) };
    const args = commandLine(spec, paths, this.installation.accelerator);
    const present = await this.#find(vmUid);
    if (present && isMeant(present, incarnationUid)) return await this.#letRun(present);
    if (present) await this.#clearAway(present, spec);
    const before = await this.#folders.read(vmUid);
    const isRepeat = before?.spec.incarnationUid === incarnationUid;
    if (before && isRepeat && before.run.phase !== 'starting') return await this.status(vmUid);
    await this.#requireNoStranger(vmUid);
    const record: MachineRecord = { schema: 1, spec: { ...spec, pinned }, run: { phase: 'starting' } };
    await this.#folders.write(record);
    await this.#folders.removeSockets(vmUid);
    const launched = await launch(this.installation.binary, args, paths.qemuLog);
    const machine = this.#attach(record, launched.process, launched.exit);
    const answered = await machine.ready(readyWithinMs);
    if (machine.seen.state === 'gone') {
      throw new Precondition('HYPERVISOR_FAILED', `QEMU did not start: ${await lastWords(paths.qemuLog)}`);
    }
    if (!answered)
      throw new Unavailable('HYPERVISOR_FAILED', 'QEMU started but its monitor does not answer.');
    return await this.#letRun(machine);
  }

  /** The guest runs its first instruction only once the record says that it has. */
  async #letRun(machine: AttachedMachine): Promise<MachineObservation> {
    await machine.ready(readyWithinMs);
    if (machine.record.run.phase === 'starting') await this.#save(machine, { phase: 'started' });
    if (machine.runState === 'prelaunch') await machine.resume();
    return this.#observation(machine.record, await machine.observe());
  }

  /** An older run whose guest has powered itself off holds nothing any more; any other one forbids a new one. */
  async #clearAway(present: AttachedMachine, spec: MachineSpec): Promise<void> {
    const { state } = await present.observe();
    const isOver = state === 'powered-off' || present.record.run.phase === 'starting';
    if (!isOver || present.record.spec.generation >= spec.generation) {
      throw new Precondition('STATE_FORBIDS', 'Another run of the machine is there still: stop it first.', {
        metadata: { incarnation_uid: present.record.spec.incarnationUid },
      });
    }
    await present.end();
  }

  async #requireNoStranger(vmUid: string): Promise<void> {
    if ((await this.#strangers(new Set(), vmUid)).length > 0) {
      throw new Precondition('STATE_FORBIDS', 'A machine of that UUID runs that the platform did not start.');
    }
  }

  /** The machine if its process lives. */
  async #find(vmUid: string): Promise<AttachedMachine | undefined> {
    const known = this.#machines.get(vmUid);
    if (known && (await isAlive(known.process))) return known;
    await known?.done;
    const record = await this.#folders.read(vmUid);
    const running = record && (await runningQemus()).find((each) => this.#isOf(each, vmUid));
    return running && this.#attach(record, running);
  }

  #attach(record: MachineRecord, process: ProcessIdentity, exit?: Promise<string>): AttachedMachine {
    const machine = new AttachedMachine({
      clock: this.#clock,
      paths: this.#folders.paths(record.spec.vmUid),
      process,
      record,
      ...(exit ? { exit } : {}),
      onSeen: (seenOf, seen) => this.#saw(seenOf, seen),
    });
    this.#machines.set(record.spec.vmUid, machine);
    return machine;
  }

  async #saw(machine: AttachedMachine, seen: Seen): Promise<void> {
    const { spec, run } = machine.record;
    // A guest that ran nothing yet is only whoever starts it to know.
    if (seen.state === 'gone') {
      if (run.phase === 'started') machine.record = await this.#recordEnd(machine.record, seen);
      if (this.#machines.get(spec.vmUid) === machine) this.#machines.delete(spec.vmUid);
    }
    if (run.phase !== 'starting') this.#tell(this.#observation(machine.record, seen));
  }

  async #recordEnd(record: MachineRecord, seen: Seen): Promise<MachineRecord> {
    const end = { cause: seen.cause, message: seen.message };
    const ended: MachineRecord = { ...record, run: { ...record.run, phase: 'ended', end } };
    try {
      await this.#folders.write(ended);
      await this.#folders.removeSockets(record.spec.vmUid);
    } catch (fault) {
      // It is gone whether that could be written or not; a later agent will say `lost`.
      this.#log.error({ err: fault, vm: record.spec.vmUid }, "the machine's end could not be recorded");
    }
    return ended;
  }

  async #save(machine: AttachedMachine, change: Partial<RunRecord>): Promise<void> {
    const record = { ...machine.record, run: { ...machine.record.run, ...change } };
    await this.#folders.write(record);
    machine.record = record;
  }

  #tell(observation: MachineObservation): void {
    const { vmUid, state, cause, message } = observation;
    this.#log.info({ vm: vmUid, state, cause, detail: message }, 'machine seen');
    for (const listener of this.#listeners) listener(observation);
  }

  #observation(record: MachineRecord, seen: Seen): MachineObservation {
    const { vmUid, incarnationUid, generation, pinned } = record.spec;
    return { vmUid, incarnationUid, generation, ...seen, managed: true, at: this.#clock.now(), pinned };
  }

  #unmanaged({ uuid, name }: QemuProcess): MachineObservation {
    const message = `started by somebody else${name ? `: ${name}` : ''}`;
    return this.#strange(uuid, { state: 'running', cause: 'none', message });
  }

  #strange(vmUid: string, seen: Seen): MachineObservation {
    const none = { incarnationUid: '', generation: 0n, pinned: {}, managed: false };
    return { vmUid, ...none, ...seen, at: this.#clock.now() };
  }

  #isOf(process: QemuProcess, vmUid: string): boolean {
    return process.uuid === vmUid && process.pidFile === this.#folders.paths(vmUid).pidFile;
  }

  /**
   * Processes that nobody here knows; of that UUID alone, if one is given. Those of another agent of the platform
   * on the same machine are its own business.
   */
  async #strangers(known: ReadonlySet<string>, vmUid?: string): Promise<QemuProcess[]> {
    return (await runningQemus()).filter((each) => {
      if (vmUid !== undefined && each.uuid !== vmUid) return false;
      if (this.#isOf(each, each.uuid)) return !known.has(each.uuid);
      return !each.name.startsWith(processNamePrefix);
    });
  }

  #trimLogs(): void {
    for (const vmUid of this.#machines.keys()) {
      trimSerialLog(this.#folders.paths(vmUid).serialLog).catch((fault: unknown) => {
        this.#log.warn({ err: fault, vm: vmUid }, 'the serial log could not be cut');
      });
    }
  }
}

const nothingThere: Seen = { state: 'gone', cause: 'none', message: 'no such machine' };

function isMeant(machine: AttachedMachine, incarnationUid: string | undefined): boolean {
  return incarnationUid === undefined || machine.record.spec.incarnationUid === incarnationUid;
}

function lost({ run }: MachineRecord): Seen {
  const message = 'it was gone when the agent came back';
  return { state: 'gone', cause: run.ending ?? 'lost', message };
}

function seenInRecord(record: MachineRecord): Seen {
  const { phase, end } = record.run;
  if (phase === 'starting') return { state: 'gone', cause: 'none', message: 'it was not started to the end' };
  return { state: 'gone', ...(end ?? lost(record)) };
}
