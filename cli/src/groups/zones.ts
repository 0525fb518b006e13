/** `nephos zones`. */
import { Zone, ZoneServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/zone';
import type { Command } from 'commander';
import { createdColumn, nameColumn, uidColumn } from '../columns.ts';
import { addDelete, addReading, printOne, type ResourceKind } from '../resource.ts';
import type { Session } from '../session.ts';

export const zoneKind: ResourceKind<Zone> = {
  word: 'zone',
  collection: 'zones',
  columns: [nameColumn, { title: 'DESCRIPTION', path: 'description' }, createdColumn, uidColumn],
  async list(platform, { filter, pageSize, pageToken }) {
    const zones = await platform.client(ZoneServiceDefinition, 'orchestrator');
    const page = await zones.listZones({ filter, pageSize, pageToken });
    return { items: page.zones, nextPageToken: page.nextPageToken };
  },
  get: async (platform, name) =>
    (await platform.client(ZoneServiceDefinition, 'orchestrator')).getZone({ name }),
  toJson: (zone) => Zone.toJSON(zone),
};

export function addZones(program: Command, session: Session): void {
  const group = program
    .command('zones')
    .description('zones: the largest unit of a data center')
    .addHelpText(
      'after',
      '\nExamples:\n  nephos zones list\n  nephos zones create east --description "Hall 3"',
    );
  addReading(group, session, zoneKind);
  group
    .command('create')
    .description('create a zone')
    .argument('<name>', 'its display name')
    .option('--description <text>', 'what a person should know of it', '')
    .action(async (displayName: string, { description }: { readonly description: string }) => {
      const zones = await session.platform.client(ZoneServiceDefinition, 'orchestrator');
      printOne(session, zoneKind, await zones.createZone({ zone: { header: { displayName }, description } }));
    });
  addDelete(group, session, zoneKind, async (platform, name) =>
    (await platform.client(ZoneServiceDefinition, 'orchestrator')).deleteZone({ name }),
  );
}
