/** `nephos templates`. */
import path from 'node:path';
import { Template, TemplateServiceDefinition } from '@nephos/proto/nephos/template/v1/template';
import { Invalid } from '@nephos/service';
import type { Command } from 'commander';
import { createdColumn, enumColumn, nameColumn, sizeColumn, uidColumn } from '../columns.ts';
import { waitFor } from '../progress.ts';
import { addDelete, addReading, findName, printOne, type ResourceKind } from '../resource.ts';
import type { Session } from '../session.ts';
import { zoneKind } from './zones.ts';

export const templateKind: ResourceKind<Template> = {
  word: 'template',
  collection: 'templates',
  columns: [
    nameColumn,
    enumColumn('STATE', 'state'),
    enumColumn('FORMAT', 'format'),
    sizeColumn('FILE', 'sizeBytes'),
    sizeColumn('DISK', 'virtualSizeBytes'),
    { title: 'ORIGIN', path: 'origin' },
    createdColumn,
    uidColumn,
  ],
  async list(platform, { filter, pageSize, pageToken }) {
    const templates = await platform.client(TemplateServiceDefinition, 'template');
    const page = await templates.listTemplates({ filter, pageSize, pageToken });
    return { items: page.templates, nextPageToken: page.nextPageToken };
  },
  get: async (platform, name) =>
    (await platform.client(TemplateServiceDefinition, 'template')).getTemplate({ name }),
  toJson: (template) => Template.toJSON(template),
};

interface CreateOptions {
  readonly builtIn?: string;
  readonly file?: string;
  readonly zone?: string;
  readonly owner: string;
  readonly sha256: string;
  readonly wait: boolean;
}

export function addTemplates(program: Command, session: Session): void {
  const group = program
    .command('templates')
    .description('templates: the images that VMs are made from')
    .addHelpText(
      'after',
      '\nExamples:\n  nephos templates create tiny --built-in tiny --zone local\n  nephos templates create debian --file /srv/images/debian-12.qcow2',
    );
  addReading(group, session, templateKind);
  group
    .command('create')
    .description('import an image; a refused one leaves nothing')
    .argument('<name>', 'its display name')
    .option('--built-in <image>', 'an image that ships with the platform, e.g. tiny')
    .option('--file <path>', "a file on the template service's machine, below one of its source folders")
    .option('--zone <zone>', 'its zone (default: all)')
    .option('--owner <owner>', 'whom it belongs to', '')
    .option('--sha256 <hex>', 'the checksum that it must have', '')
    .option('--no-wait', 'print the operation and do not wait for it')
    .action(async (displayName: string, options: CreateOptions) => create(session, displayName, options));
  addDelete(group, session, templateKind, async (platform, name) =>
    (await platform.client(TemplateServiceDefinition, 'template')).deleteTemplate({ name }),
  );
}

async function create(session: Session, displayName: string, options: CreateOptions): Promise<void> {
  const { builtIn, file, owner, sha256, wait } = options;
  if ((builtIn === undefined) === (file === undefined)) {
    throw new Invalid('FIELD_REQUIRED', 'name either --built-in or --file');
  }
  const source =
    file === undefined
      ? ({ $case: 'builtIn', value: builtIn ?? '' } as const)
      : ({ $case: 'localFile', value: path.resolve(session.world.cwd, file) } as const);
  const zone = options.zone === undefined ? '' : await findName(session, zoneKind, options.zone);
  const templates = await session.platform.client(TemplateServiceDefinition, 'template');
  const operation = await templates.createTemplate({
    template: { header: { displayName, zone, owner } },
    source: { source },
    expectedSha256: sha256,
  });
  if (!(await waitFor(session, operation, wait))) return;
  printOne(
    session,
    templateKind,
    await templateKind.get(session.platform, await findName(session, templateKind, displayName)),
  );
}
