/** `nephos pods`. */
import { Pod, PodServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/pod';
import type { Command } from 'commander';
import { createdColumn, nameColumn, referenceWord, uidColumn } from '../columns.ts';
import { addDelete, addReading, findName, printOne, type ResourceKind } from '../resource.ts';
import type { Session } from '../session.ts';
import { zoneKind } from './zones.ts';

export const podKind: ResourceKind<Pod> = {
  word: 'pod',
  collection: 'pods',
  columns: [
    nameColumn,
    { title: 'ZONE', path: 'header.zone', format: referenceWord },
    createdColumn,
    uidColumn,
  ],
  async list(platform, { filter, pageSize, pageToken }) {
    const pods = await platform.client(PodServiceDefinition, 'orchestrator');
    const page = await pods.listPods({ filter, pageSize, pageToken });
    return { items: page.pods, nextPageToken: page.nextPageToken };
  },
  get: async (platform, name) =>
    (await platform.client(PodServiceDefinition, 'orchestrator')).getPod({ name }),
  toJson: (pod) => Pod.toJSON(pod),
};

export function addPods(program: Command, session: Session): void {
  const group = program
    .command('pods')
    .description('pods: what shares a failure domain within a zone')
    .addHelpText('after', '\nExamples:\n  nephos pods create row-1 --zone east');
  addReading(group, session, podKind);
  group
    .command('create')
    .description('create a pod')
    .argument('<name>', 'its display name')
    .requiredOption('--zone <zone>', 'its zone')
    .action(async (displayName: string, { zone }: { readonly zone: string }) => {
      const header = { displayName, zone: await findName(session, zoneKind, zone) };
      const pods = await session.platform.client(PodServiceDefinition, 'orchestrator');
      printOne(session, podKind, await pods.createPod({ pod: { header } }));
    });
  addDelete(group, session, podKind, async (platform, name) =>
    (await platform.client(PodServiceDefinition, 'orchestrator')).deletePod({ name }),
  );
}
