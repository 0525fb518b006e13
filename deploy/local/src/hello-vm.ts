/**
 * The first VM: made when it is not there, followed until it runs, and proved by its own words on its serial
 * console. A run that was proved before is told by its incarnation, so that old words never pass for new ones.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { ConsoleCleaner, finishedOperation } from '@nephos/client';
import { type Operation } from '@nephos/proto/google/longrunning/operations';
import {
  Power,
  type Vm,
  VmServiceDefinition,
  VmStatus_State,
} from '@nephos/proto/nephos/orchestration/v1/vm';
import {
  HypervisorServiceDefinition,
  MachineObservation_State,
} from '@nephos/proto/nephos/plugin/v1/hypervisor';
import { type Client, DeadlineExceeded, Internal, Precondition } from '@nephos/service';
import { type Inventory, type Maker, nameOf } from './inventory.ts';
import { JobDrawing } from './job-drawing.ts';
import type { Layout } from './layout.ts';

export const vmName = 'hello';
const runMs = 180_000;
const bootMs = 120_000;
const askAgainMs = 100;
const proofFile = 'hello.json';
/** What the guest says once it is up. */
export const saysHello = /guest (\S+) is up/;

export type Vms = Client<typeof VmServiceDefinition>;

/** Finds or makes the VM and waits until it runs. Undefined when somebody wants it stopped. */
export async function ensureHello(maker: Maker, inventory: Inventory): Promise<Vm | undefined> {
  const { platform, requestIds, screen } = maker;
  const vms = await platform.client(VmServiceDefinition, 'orchestrator');
  const found = await findHello(vms, inventory.zone);
  if (found?.status?.state === VmStatus_State.FAILED) {
    screen.warn(`${vmName} could not be made last time (${found.status.message}): it goes, and is made anew`);
    await follow(maker, await vms.expungeVm({ name: nameOf(found) }));
  } else if (found !== undefined) {
    screen.done('vm', `${vmName} is there: ${nameOf(found)}`);
    requestIds.forget('vm');
    if (found.spec?.desiredPower === Power.OFF) return undefined;
    return runningHello(maker, vms, nameOf(found), inventory);
  }
  const request = {
    vm: {
      header: { displayName: vmName, zone: inventory.zone },
      spec: { computeOffering: inventory.offering, template: inventory.template },
    },
  };
  const operation = await vms.createVm(request, { requestId: requestIds.of('vm') });
  screen.done('vm', `${vmName} is being made: ${operation.name}`);
  await follow(maker, operation);
  requestIds.forget('vm');
  const made = await findHello(vms, inventory.zone);
  if (made === undefined) throw new Internal('INTERNAL', `${vmName} was made and is not there`);
  return runningHello(maker, vms, nameOf(made), inventory);
}

export async function findHello(vms: Vms, zone: string): Promise<Vm | undefined> {
  const filter = `display_name = "${vmName}" AND zone = "${zone}"`;
  return (await vms.listVms({ filter })).vms[0];
}

/** Draws the job behind an operation until it is over; throws what it failed with. */
export async function follow({ platform, screen, signal }: Maker, operation: Operation): Promise<void> {
  const drawing = new JobDrawing(screen);
  try {
    await finishedOperation(platform, operation, { signal, onChange: (job) => drawing.draw(job) });
  } finally {
    drawing.end();
  }
}

/** Waits until the orchestrator and the agent agree that it runs, drawing what works on it meanwhile. */
async function runningHello(maker: Maker, vms: Vms, name: string, inventory: Inventory): Promise<Vm> {
  const { platform, screen, signal } = maker;
  const began = platform.clock.monotonic();
  const drawn = new Set<string>();
  for (;;) {
    const vm = await vms.getVm({ name });
    const { state, operation = '', message } = vm.status ?? {};
    if (operation !== '' && !drawn.has(operation)) {
      drawn.add(operation);
      screen.done('vm', `an operation works on it: ${operation}`);
      await follow(maker, { name: operation, metadata: undefined, done: false, result: undefined });
      continue;
    }
    if (state === VmStatus_State.RUNNING && (await agentAgrees(maker, vm, inventory))) {
      const host = inventory.hosts.find((each) => nameOf(each) === vm.status?.host)?.header?.displayName;
      screen.done('vm', `${vmName} runs on ${host}, its run number ${vm.status?.generation}`);
      return vm;
    }
    if (platform.clock.monotonic() - began > runMs) {
      throw new DeadlineExceeded(
        'DEADLINE_EXCEEDED',
        `${vmName} does not run after 3 minutes. ${message ?? ''}`,
      );
    }
    await platform.clock.sleep(askAgainMs, signal);
  }
}

/** After a restart the record may be older than the facts. */
async function agentAgrees(
  { platform }: Maker,
  { header, status }: Vm,
  inventory: Inventory,
): Promise<boolean> {
  const host = inventory.hosts.find((each) => nameOf(each) === status?.host);
  if (host === undefined) return false;
  const hypervisor = await platform.client(HypervisorServiceDefinition, 'host-agent');
  const { observation } = await hypervisor.getMachine({ host: host.agentHost, vmUid: header?.uid ?? '' });
  return (
    observation?.state === MachineObservation_State.RUNNING &&
    observation.incarnationUid === status?.incarnationUid
  );
}

interface Proof {
  readonly incarnation: string;
  /** Where in the console's output this run's words begin. */
  readonly from: number;
  /** Where in the console's output its hello ended. */
  readonly offset: number;
}

/** Shows what the guest says on its serial console until it has said hello; returns that line. */
export async function awaitHello(maker: Maker, vm: Vm, { state, options }: Layout): Promise<string> {
  const { platform, screen, signal } = maker;
  const vms = await platform.client(VmServiceDefinition, 'orchestrator');
  const file = path.join(state, proofFile);
  const incarnation = vm.status?.incarnationUid ?? '';
  const proof = readProof(file);
  const from = proof === undefined || options.mode === 'simulated' ? 0 : whereItSpeaks(proof, incarnation);
  if (proof?.incarnation === incarnation) screen.detail('the same run as last time: it ran on meanwhile');
  const limit = new AbortController();
  using _timer = platform.clock.timer(bootMs, () => limit.abort());
  const cleaner = new ConsoleCleaner();
  let line = '';
  try {
    const both = AbortSignal.any([signal, limit.signal]);
    const request = { name: nameOf(vm), offset: BigInt(from), follow: true };
    for await (const { offset, data } of vms.readVmConsole(request, { signal: both })) {
      const lines = `${line}${cleaner.clean(data)}`.split('\n');
      line = lines.pop() ?? '';
      for (const whole of lines) {
        screen.line(`     ${screen.paint('dim', '│')} ${whole}`);
        if (!saysHello.test(whole)) continue;
        writeFileSync(
          file,
          JSON.stringify({ incarnation, from, offset: Number(offset) + data.length } satisfies Proof),
        );
        return whole;
      }
    }
  } catch (error) {
    if (limit.signal.aborted)
      throw new DeadlineExceeded('DEADLINE_EXCEEDED', `${vmName} said no hello in 2 minutes`);
    throw error;
  }
  throw new Precondition('STATE_FORBIDS', `the console of ${vmName} ended before it said hello`);
}

/** A newer run speaks after the hello of the last. A simulated machine's console begins anew with each run. */
function whereItSpeaks(proof: Proof, incarnation: string): number {
  return proof.incarnation === incarnation ? proof.from : proof.offset;
}

function readProof(file: string): Proof | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Proof;
  } catch {
    return undefined;
  }
}
