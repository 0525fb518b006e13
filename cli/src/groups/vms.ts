/** `nephos vms`. */
import { ConsoleCleaner, jobNameOf } from '@nephos/client';
import type { Operation } from '@nephos/proto/google/longrunning/operations';
import { JobServiceDefinition } from '@nephos/proto/nephos/jobs/v1/jobs';
import {
  type VmServiceDefinition as Definition,
  Power,
  PowerPolicy,
  Vm,
  VmServiceDefinition,
} from '@nephos/proto/nephos/orchestration/v1/vm';
import { type Client, Invalid, NotFound } from '@nephos/service';
import type { Command } from 'commander';
import { createdColumn, enumColumn, nameColumn, referenceWord, sizeColumn, uidColumn } from '../columns.ts';
import { waitFor } from '../progress.ts';
import {
  addReading,
  bytesOf,
  collectLabel,
  findName,
  positive,
  printOne,
  type ResourceKind,
} from '../resource.ts';
import type { Session } from '../session.ts';
import { hostKind } from './hosts.ts';
import { computeOfferingKind } from './offerings.ts';
import { templateKind } from './templates.ts';
import { zoneKind } from './zones.ts';

type Vms = Client<typeof Definition>;

const vmKind: ResourceKind<Vm> = {
  word: 'vm',
  collection: 'vms',
  columns: [
    nameColumn,
    enumColumn('STATE', 'status.state'),
    { title: 'VCPUS', path: 'spec.vcpus' },
    sizeColumn('MEMORY', 'spec.memoryBytes'),
    { title: 'HOST', path: 'status.host', format: referenceWord },
    { title: 'REASON', path: 'status.reason' },
    createdColumn,
    uidColumn,
  ],
  async list(platform, query) {
    const page = await (await platform.client(VmServiceDefinition, 'orchestrator')).listVms(query);
    return { items: page.vms, nextPageToken: page.nextPageToken };
  },
  get: async (platform, name) => (await platform.client(VmServiceDefinition, 'orchestrator')).getVm({ name }),
  toJson: (vm) => Vm.toJSON(vm),
};

const examples = `
Examples:
  nephos vms create web --zone local --template tiny --offering small
  nephos vms create db --zone local --template tiny --vcpus 2 --memory 1GiB --label tier=back
  nephos vms stop web --grace 20
  nephos vms console web --follow
  nephos vms destroy web && nephos vms recover web && nephos vms start web
  nephos vms expunge web`;

export function addVms(program: Command, session: Session): void {
  const group = program.command('vms').description('virtual machines').addHelpText('after', examples);
  addReading(group, session, vmKind, { softDelete: true });
  addCreate(group, session);
  addVerb(group, session, 'start', 'start it; running already is success', (vms, name) =>
    vms.startVm({ name }),
  );
  addVerb(group, session, 'stop', 'shut it down', stop)
    .option('--force', 'cut its power at once')
    .option('--grace <seconds>', 'how long the guest may take before its power is cut');
  addVerb(group, session, 'reboot', 'reset it', (vms, name) => vms.rebootVm({ name }));
  addVerb(group, session, 'destroy', 'destroy it; it can be recovered for a while', (vms, name) =>
    vms.deleteVm({ name }),
  );
  addVerb(group, session, 'recover', 'recover a destroyed one; it is stopped then', (vms, name) =>
    vms.undeleteVm({ name }),
  );
  addVerb(group, session, 'expunge', 'remove it and its root volume for good', (vms, name) =>
    vms.expungeVm({ name }),
  );
  addConsole(group, session);
}

interface VerbOptions {
  readonly wait: boolean;
  readonly force?: boolean;
  readonly grace?: string;
}

type Verb = (vms: Vms, name: string, options: VerbOptions) => Promise<Operation>;

function addVerb(group: Command, session: Session, verb: string, description: string, run: Verb): Command {
  return group
    .command(verb)
    .description(description)
    .argument('<vm>')
    .option('--no-wait', 'print the operation and do not wait for it')
    .action(async (reference: string, options: VerbOptions) => {
      const name = await findName(session, vmKind, reference);
      const vms = await session.platform.client(VmServiceDefinition, 'orchestrator');
      if (!(await waitFor(session, await run(vms, name, options), options.wait))) return;
      await printVm(session, name);
    });
}

/** An expunged VM is shown by its name alone. */
async function printVm(session: Session, name: string): Promise<void> {
  try {
    printOne(session, vmKind, await vmKind.get(session.platform, name));
  } catch (error) {
    if (!(error instanceof NotFound)) throw error;
    if (session.json) session.document({ name });
    else session.out(`${name} is gone`);
  }
}

const stop: Verb = (vms, name, { force = false, grace }) =>
  vms.stopVm({
    name,
    force,
    ...(grace !== undefined && { grace: { seconds: BigInt(positive('--grace', grace)), nanos: 0 } }),
  });

interface CreateOptions {
  readonly zone: string;
  readonly template: string;
  readonly offering?: string;
  readonly vcpus?: string;
  readonly memory?: string;
  readonly disk?: string;
  readonly hostname: string;
  readonly host?: string;
  readonly owner: string;
  readonly policy: string;
  readonly label?: Readonly<Record<string, string>>;
  readonly start: boolean;
  readonly wait: boolean;
}

const policies: Readonly<Record<string, PowerPolicy>> = {
  follow: PowerPolicy.FOLLOW,
  enforce: PowerPolicy.ENFORCE,
  alert: PowerPolicy.ALERT,
};

function addCreate(group: Command, session: Session): void {
  group
    .command('create')
    .description('place a VM, make its disk and start it')
    .argument('<name>', 'its display name')
    .requiredOption('--zone <zone>', 'its zone')
    .requiredOption('--template <template>', 'what its root volume is made from')
    .option('--offering <offering>', 'its size, by name')
    .option('--vcpus <number>', 'its size, by hand: virtual CPUs')
    .option('--memory <size>', 'its size, by hand: e.g. 512MiB')
    .option('--disk <size>', "size of its root volume (default: the template's)")
    .option('--hostname <label>', "the guest's hostname (default: the display name)", '')
    .option('--host <host>', 'only this host')
    .option('--owner <owner>', 'whom it belongs to', '')
    .option('--policy <policy>', 'when it stops by itself: follow, enforce or alert', 'follow')
    .option('--label <key=value>', 'as often as wanted', collectLabel)
    .option('--no-start', 'make it, and leave it stopped')
    .option('--no-wait', 'print the operation and do not wait for it')
    .action(async (displayName: string, options: CreateOptions) => create(session, displayName, options));
}

async function create(session: Session, displayName: string, options: CreateOptions): Promise<void> {
  const { owner, hostname, offering, vcpus, memory, disk, host, label = {} } = options;
  const policy = policies[options.policy];
  if (policy === undefined) throw new Invalid('FIELD_INVALID', '--policy is follow, enforce or alert');
  const vms = await session.platform.client(VmServiceDefinition, 'orchestrator');
  const zone = await findName(session, zoneKind, options.zone);
  const spec = {
    template: await findName(session, templateKind, options.template),
    hostname,
    powerPolicy: policy,
    desiredPower: options.start ? Power.ON : Power.OFF,
    ...(offering !== undefined && {
      computeOffering: await findName(session, computeOfferingKind, offering),
    }),
    ...(vcpus !== undefined && { vcpus: positive('--vcpus', vcpus) }),
    ...(memory !== undefined && { memoryBytes: bytesOf('--memory', memory) }),
    ...(disk !== undefined && { rootVolumeSizeBytes: bytesOf('--disk', disk) }),
    ...(host !== undefined && { host: await findName(session, hostKind, host) }),
  };
  const operation = await vms.createVm({ vm: { header: { displayName, zone, owner, labels: label }, spec } });
  if (!(await waitFor(session, operation, options.wait))) return;
  const jobs = await session.platform.client(JobServiceDefinition, 'job-control');
  const { target } = await jobs.getJob({ name: jobNameOf(operation) });
  await printVm(session, target);
}

function addConsole(group: Command, session: Session): void {
  group
    .command('console')
    .description('what the guest wrote on its serial console (for people: without what steers terminals)')
    .argument('<vm>')
    .option('--follow', 'go on as it writes more, until Ctrl-C')
    .option('--tail <bytes>', 'only the last so many bytes')
    .action(async (reference: string, options: { readonly follow?: boolean; readonly tail?: string }) => {
      const name = await findName(session, vmKind, reference);
      const vms = await session.platform.client(VmServiceDefinition, 'orchestrator');
      const offset = options.tail === undefined ? 0n : -BigInt(positive('--tail', options.tail));
      await readConsole(
        session,
        vms.readVmConsole({ name, offset, follow: options.follow ?? false }, { signal: session.signal }),
      );
    });
}

async function readConsole(
  session: Session,
  pieces: AsyncIterable<{ readonly offset: bigint; readonly data: Uint8Array }>,
): Promise<void> {
  const { stdout } = session.world;
  const cleaner = new ConsoleCleaner();
  try {
    for await (const { offset, data } of pieces) {
      if (session.json) {
        session.out(JSON.stringify({ offset: String(offset), data: Buffer.from(data).toString('base64') }));
      } else {
        stdout.write(stdout.isTTY === true ? cleaner.clean(data) : Buffer.from(data).toString('latin1'));
      }
    }
  } catch (error) {
    if (!session.signal.aborted) throw error;
  }
}
