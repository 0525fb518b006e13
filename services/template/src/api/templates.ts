/** TemplateService: templates as resources, and their bytes for hosts. */
import type { Idempotency } from '@nephos/idempotency';
import type { JobClient } from '@nephos/jobs';
import { TemplateServiceDefinition } from '@nephos/proto/nephos/template/v1/template';
import { headerFields, standardMethods } from '@nephos/resources';
import type { Implementation } from '@nephos/service';
import { enumField, type ListFields } from '@nephos/store';
import type { Peers } from '../adapters/peers.ts';
import type { ImportDeps } from '../jobs/import.ts';
import { createTemplate } from './create-template.ts';
import { deleteTemplate } from './delete-template.ts';
import { readTemplate } from './read-template.ts';

const fields: ListFields = {
  sha256: { path: 'image.sha256', type: 'string' },
  ...headerFields,
  state: enumField('state', ['importing', 'ready', 'failed']),
};

export function templatesApi(
  deps: ImportDeps & { readonly peers: Pick<Peers, 'read'> },
  jobs: JobClient,
  idempotency: Idempotency,
): Implementation<typeof TemplateServiceDefinition> {
  const { templates, clock } = deps;
  return {
    ...standardMethods(
      {
        contract: TemplateServiceDefinition,
        kind: 'Template',
        entity: templates,
        fields,
        own: ['createTemplate', 'deleteTemplate'],
      },
      { idempotency, clock },
    ),
    createTemplate: createTemplate(deps, jobs, idempotency),
    deleteTemplate: deleteTemplate(deps, idempotency),
    readTemplate: (request, call) => readTemplate(deps, request, call.signal),
  };
}
