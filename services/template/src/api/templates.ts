/** TemplateService: templates as resources, and their bytes for hosts. */
import type { Idempotency } from '@nephos/idempotency';
import type { JobClient } from '@nephos/jobs';
import type { TemplateServiceDefinition } from '@nephos/proto/nephos/template/v1/template';
import type { Implementation } from '@nephos/service';
import { enumField, type ListFields, listPage } from '@nephos/store';
import type { Peers } from '../adapters/peers.ts';
import type { ImportDeps } from '../jobs/import.ts';
import { deleteTemplate, find, updateTemplate } from './change-template.ts';
import { createTemplate } from './create-template.ts';
import { readTemplate } from './read-template.ts';

const fields: ListFields = {
  sha256: { path: 'image.sha256', type: 'string' },
  display_name: { path: 'header.displayName', type: 'string' },
  owner: { path: 'header.owner', type: 'string' },
  zone: { path: 'header.zone', type: 'string' },
  state: enumField('state', ['importing', 'ready', 'failed']),
  labels: { path: 'header.labels', type: 'map' },
};

export function templatesApi(
  deps: ImportDeps & { readonly peers: Pick<Peers, 'read'> },
  jobs: JobClient,
  idempotency: Idempotency,
): Implementation<typeof TemplateServiceDefinition> {
  const { templates } = deps;
  return {
    createTemplate: createTemplate(deps, jobs, idempotency),
    getTemplate: async ({ name }) => templates.message(await find(templates, name, 'name')),
    listTemplates: async (request) => {
      const { indexes } = templates.definition.store;
      const { items, nextPageToken } = await listPage(templates, request, { indexes, fields });
      return { templates: items.map((stored) => templates.message(stored)), nextPageToken };
    },
    updateTemplate: updateTemplate(deps, idempotency),
    deleteTemplate: deleteTemplate(deps, idempotency),
    readTemplate: (request, call) => readTemplate(deps, request, call.signal),
  };
}
