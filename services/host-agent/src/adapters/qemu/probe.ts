/**
 * Finds QEMU and what really runs guests here. /dev/kvm may exist and not work, or work for firmware alone, so
 * a small program (`probe-rom.ts`) is run with the pinned processor and a time limit; what cannot run it does
 * not run guests.
 */
import { execFile } from 'node:child_process';
import { access, constants, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Clock, Unavailable } from '@nephos/service';
import type { Accelerator } from '../../domain/qemu/command-line.ts';
import { pin } from '../../domain/qemu/machine.ts';
import { probeRom, romExitCode } from './probe-rom.ts';

export interface QemuInstallation {
  readonly binary: string;
  /** E.g. `7.2.22`. */
  readonly version: string;
  readonly imageTool: string;
  readonly imageToolVersion: string;
  readonly accelerator: Accelerator;
  /** Why that one, for people. */
  readonly acceleratorReason: string;
}

export interface ProbeOptions {
  readonly clock: Clock;
  /** Default `qemu-system-x86_64` and `qemu-img` on the PATH. */
  readonly binary?: string;
  readonly imageTool?: string;
  /** For each trial; a working KVM needs a tenth of a second. Default 5,000. */
  readonly timeoutMs?: number;
  /** Take this one without looking for better. */
  readonly accelerator?: Accelerator;
}

interface Ran {
  readonly code: number | string;
  readonly output: string;
}

const oldest = [7, 2] as const;

/** Throws `Unavailable` where QEMU is missing, too old, or runs no guest at all. */
export async function probeQemu(options: ProbeOptions): Promise<QemuInstallation> {
  const binary = options.binary ?? 'qemu-system-x86_64';
  const imageTool = options.imageTool ?? 'qemu-img';
  const timeoutMs = options.timeoutMs ?? 5_000;
  const run = (command: string, args: string[]) => runBriefly(options.clock, command, args, timeoutMs);
  const [version, imageToolVersion] = await Promise.all([
    versionOf(run, binary, 'qemu-system-x86'),
    versionOf(run, imageTool, 'qemu-utils'),
  ]);
  const chosen = options.accelerator
    ? { accelerator: options.accelerator, acceleratorReason: 'set by configuration' }
    : await chooseAccelerator((accelerator) => tryAccelerator(run, binary, accelerator));
  return { binary, version, imageTool, imageToolVersion, ...chosen };
}

type Run = (command: string, args: string[]) => Promise<Ran>;

async function versionOf(run: Run, command: string, debianPackage: string): Promise<string> {
  const { output } = await run(command, ['--version']);
  const found = output.match(/version (\d+)\.(\d+)\.(\d+)/);
  if (!found) {
    throw new Unavailable('HYPERVISOR_FAILED', `${command} is not there (Debian package ${debianPackage}).`);
  }
  const [major = 0, minor = 0] = found.slice(1).map(Number);
  if (major < oldest[0] || (major === oldest[0] && minor < oldest[1])) {
    throw new Unavailable(
      'HYPERVISOR_FAILED',
      `${command} is ${found[0]}; ${oldest.join('.')} or later is needed.`,
    );
  }
  return found[0].slice('version '.length);
}

async function chooseAccelerator(
  attempt: (accelerator: Accelerator) => Promise<string | undefined>,
): Promise<Pick<QemuInstallation, 'accelerator' | 'acceleratorReason'>> {
  const noKvm = (await kvmOutOfReach()) ?? (await attempt('kvm'));
  if (noKvm === undefined) return { accelerator: 'kvm', acceleratorReason: 'KVM ran a trial program' };
  const noTcg = await attempt('tcg');
  if (noTcg !== undefined) throw new Unavailable('HYPERVISOR_FAILED', `QEMU runs no guest here: ${noTcg}`);
  return { accelerator: 'tcg', acceleratorReason: `the processor is emulated: ${noKvm}` };
}

async function kvmOutOfReach(): Promise<string | undefined> {
  return await access('/dev/kvm', constants.R_OK | constants.W_OK).then(
    () => undefined,
    () => '/dev/kvm is not there or may not be used',
  );
}

/** Nothing if it ran the program, else why it did not. */
async function tryAccelerator(
  run: Run,
  binary: string,
  accelerator: Accelerator,
): Promise<string | undefined> {
  const folder = await mkdtemp(path.join(tmpdir(), 'nephos-probe-'));
  try {
    const rom = path.join(folder, 'rom');
    await writeFile(rom, probeRom());
    const pinned = pin({});
    const { code, output } = await run(binary, [
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-m', '16'],
      ...['-machine', pinned.machine_type, '-accel', accelerator, '-cpu', `${pinned.cpu_model},enforce`],
      ...['-device', 'isa-debug-exit,iobase=0xf4,iosize=0x04', '-bios', rom],
    ]);
    if (code === romExitCode) return undefined;
    const said = output.trim().split('\n')[0] ?? '';
    return `${accelerator} did not run a trial program (${code}${said ? `; ${said}` : ''})`;
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function runBriefly(clock: Clock, command: string, args: string[], timeoutMs: number): Promise<Ran> {
  const limit = new AbortController();
  using _timer = clock.timer(timeoutMs, () => limit.abort());
  return await new Promise((resolve) => {
    execFile(command, args, { signal: limit.signal, killSignal: 'SIGKILL' }, (fault, stdout, stderr) => {
      const ended = fault === null ? 0 : (fault.code ?? fault.signal ?? 'failed');
      const code = limit.signal.aborted ? `not done after ${timeoutMs} ms` : ended;
      resolve({ code, output: stdout + stderr });
    });
  });
}
