/** TemplateService: templates as resources, and their bytes for hosts. */

import type { Idempotency } from '@nephos/idempotency';
import type { JobClient } from '@nephos/jobs';
import type { TemplateServiceDefinition } from '@nephos/proto/nephos/template/v1/template';
import {
  AlreadyExists,
  applyUpdateMask,
  checkEtag,
  checkHeader,
  fieldInvalid,
  type Implementation,
  notFound,
  Precondition,
  parseResourceName,
  refuseFields,
  touched,
} from '@nephos/service';
import { enumField, type ListFields, listPage, type Stored } from '@nephos/store';
import type { TemplateRecord } from '../domain/template.ts';
import type { ImportDeps } from '../jobs/import.ts';
import { removeUnused } from '../sweeper.ts';
import { createTemplate } from './create-template.ts';

const fields: ListFields = {
  sha256: { path: 'image.sha256', type: 'string' },
  display_name: { path: 'header.displayName', type: 'string' },
  owner: { path: 'header.owner', type: 'string' },
  zone: { path: 'header.zone', type: 'string' },
  state: enumField('state', ['importing', 'ready', 'failed']),
  labels: { path: 'header.labels', type: 'map' },
};

const changeable = ['header.display_name', 'header.labels', 'header.annotations'];

export function templatesApi(
  deps: ImportDeps,
  jobs: JobClient,
  idempotency: Idempotency,
): Implementation<typeof TemplateServiceDefinition> {
  const { templates, content, clock } = deps;
  const find = async (name: string, field = 'name'): Promise<Stored<TemplateRecord>> => {
    const uid = parseResourceName('templates', name, field);
    const stored = await templates.get(uid);
    if (stored === undefined) throw notFound('templates', uid);
    return stored;
  };
  return {
    createTemplate: createTemplate(deps, jobs, idempotency),
    getTemplate: async ({ name }) => templates.message(await find(name)),
    listTemplates: async (request) => {
      const { indexes } = templates.definition.store;
      const { items, nextPageToken } = await listPage(templates, request, { indexes, fields });
      return { templates: items.map((stored) => templates.message(stored)), nextPageToken };
    },
    updateTemplate: async ({ template, updateMask }) => {
      const sent = template?.header;
      if (template === undefined || sent === undefined)
        throw fieldInvalid('template.header', 'is required', true);
      const stored = await find(sent.name, 'template.header.name');
      checkEtag(sent.etag, stored.id, stored.eventSeq);
      const { header } = applyUpdateMask(templates.message(stored), template, updateMask, changeable);
      if (header === undefined) throw fieldInvalid('template.header', 'is required', true);
      checkHeader(header, 'template.header');
      const { displayName, labels, annotations } = header;
      const next = (record: TemplateRecord): TemplateRecord => ({
        ...record,
        header: touched({ ...record.header, displayName, labels, annotations }, clock),
      });
      return templates.message(
        await renamed(templates.modify(stored.id, next, { expected: stored.revision })),
      );
    },
    deleteTemplate: async ({ name, etag }) => {
      const { id, eventSeq, revision, value } = await find(name);
      checkEtag(etag, id, eventSeq);
      if (value.state === 'importing') throw stillImporting(name);
      await templates.remove(id, { expected: revision });
      if (value.image !== undefined) await removeUnused(value.image.sha256, { templates, content });
      return {};
    },
    readTemplate: async function* ({ name, offset, length }) {
      const { value } = await find(name);
      if (value.image === undefined) throw notReady(name, value);
      const { sha256, sizeBytes } = value.image;
      if (offset < 0n || offset > BigInt(sizeBytes) || length < 0n) {
        refuseFields([{ field: 'offset', description: `must be 0 to ${sizeBytes}, and length not below 0` }]);
      }
      for await (const piece of content.read(sha256, Number(offset), Number(length))) {
        yield { offset: BigInt(piece.offset), data: piece.data };
      }
    },
  };
}

async function renamed<T>(work: Promise<T>): Promise<T> {
  return work.catch((error: unknown) => {
    if (!(error instanceof AlreadyExists)) throw error;
    throw new AlreadyExists('DISPLAY_NAME_TAKEN', 'the display name is taken: choose another');
  });
}

function stillImporting(name: string): Precondition {
  const description = `${name} is being imported: cancel its job first, or wait for it`;
  return new Precondition('OPERATION_IN_PROGRESS', description, {
    preconditions: [{ type: 'OPERATION_IN_PROGRESS', subject: name, description }],
  });
}

function notReady(name: string, { state }: TemplateRecord): Precondition {
  const description = `${name} is ${state}: it has no image`;
  return new Precondition('STATE_FORBIDS', description, {
    preconditions: [{ type: 'STATE_FORBIDS', subject: name, description }],
  });
}
