/** `nephos hosts`. */
import { sizeText } from '@nephos/client';
import { Host, HostServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/host';
import type { Command } from 'commander';
import { enumColumn, nameColumn, shareColumn, uidColumn } from '../columns.ts';
import { addDelete, addReading, findName, printOne, type ResourceKind } from '../resource.ts';
import type { Session } from '../session.ts';
import { clusterKind } from './clusters.ts';

export const hostKind: ResourceKind<Host> = {
  word: 'host',
  collection: 'hosts',
  columns: [
    nameColumn,
    enumColumn('LINK', 'status.link'),
    enumColumn('ADMIN', 'status.admin'),
    { title: 'HYPERVISOR', path: 'status.hypervisor' },
    { title: 'VMS', path: 'status.vmCount', format: (value) => `${Number(value ?? 0)}` },
    shareColumn('CPUS', 'status.allocated.cpus', 'status.capacity.cpus', String),
    shareColumn('MEMORY', 'status.allocated.memoryBytes', 'status.capacity.memoryBytes', sizeText),
    uidColumn,
  ],
  async list(platform, { filter, pageSize, pageToken }) {
    const hosts = await platform.client(HostServiceDefinition, 'orchestrator');
    const page = await hosts.listHosts({ filter, pageSize, pageToken });
    return { items: page.hosts, nextPageToken: page.nextPageToken };
  },
  get: async (platform, name) =>
    (await platform.client(HostServiceDefinition, 'orchestrator')).getHost({ name }),
  toJson: (host) => Host.toJSON(host),
};

const examples = `
Examples:
  nephos hosts list --filter 'link = "UP"'
  nephos hosts create node-7 --cluster rack-7 --agent 0192f4c3-…
  nephos hosts cordon node-7 --reason "new disks"`;

interface CreateOptions {
  readonly cluster: string;
  readonly agent: string;
  readonly agentHost?: string;
}

export function addHosts(program: Command, session: Session): void {
  const group = program
    .command('hosts')
    .description('hosts: the machines that VMs run on')
    .addHelpText('after', examples);
  addReading(group, session, hostKind);
  group
    .command('create')
    .description('put a machine whose agent runs to use')
    .argument('<name>', 'its display name')
    .requiredOption('--cluster <cluster>', 'its cluster')
    .requiredOption('--agent <id>', 'its agent, as "services" shows it')
    .option('--agent-host <name>', "the host's name within that agent (default: the display name)")
    .action(async (displayName: string, { cluster: reference, agent, agentHost }: CreateOptions) => {
      const cluster = await clusterKind.get(
        session.platform,
        await findName(session, clusterKind, reference),
      );
      const hosts = await session.platform.client(HostServiceDefinition, 'orchestrator');
      const host = {
        header: { displayName, zone: cluster.header?.zone ?? '' },
        cluster: cluster.header?.name ?? '',
        agentId: agent,
        agentHost: agentHost ?? displayName,
      };
      printOne(session, hostKind, await hosts.createHost({ host }));
    });
  addCordon(group, session);
  addDelete(group, session, hostKind, async (platform, name) =>
    (await platform.client(HostServiceDefinition, 'orchestrator')).deleteHost({ name }),
  );
}

function addCordon(group: Command, session: Session): void {
  group
    .command('cordon')
    .description('take no new VMs from now on; those that run there run on')
    .argument('<host>')
    .option('--reason <text>', 'why, for people', '')
    .action(async (reference: string, { reason }: { readonly reason: string }) => {
      const name = await findName(session, hostKind, reference);
      const hosts = await session.platform.client(HostServiceDefinition, 'orchestrator');
      printOne(session, hostKind, await hosts.cordonHost({ name, reason }));
    });
  group
    .command('uncordon')
    .description('take new VMs again')
    .argument('<host>')
    .action(async (reference: string) => {
      const name = await findName(session, hostKind, reference);
      const hosts = await session.platform.client(HostServiceDefinition, 'orchestrator');
      printOne(session, hostKind, await hosts.uncordonHost({ name }));
    });
}
