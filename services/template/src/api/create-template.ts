/**
 * CreateTemplate: what can be refused at once is refused before anything is kept; the rest is the job
 * `template.import`, submitted under a uid that the accepted request minted.
 */
import path from 'node:path';
import type { Idempotency } from '@nephos/idempotency';
import { type JobClient, operationOf } from '@nephos/jobs';
import type { Operation } from '@nephos/proto/google/longrunning/operations';
import { CreateTemplateRequest, type TemplateSource } from '@nephos/proto/nephos/template/v1/template';
import { insertOnce, withCheckedHeader } from '@nephos/resources';
import { type Call, fieldInvalid, newHeader, newUid, refuseFields } from '@nephos/service';
import type { Json } from '@nephos/store';
import type { Source, TemplateRecord } from '../domain/template.ts';
import { type ImportDeps, importTemplate } from '../jobs/import.ts';

/** What an accepted request keeps: all that carrying it out needs. */
interface Body {
  readonly template: TemplateRecord;
  readonly source: Source;
  readonly expectedSha256: string;
}

const sha256Form = /^([0-9a-f]{64})?$/;
const architectureForm = /^[a-z0-9_]{1,32}$/;
const defaultArchitecture = 'x86_64';

export type CreateTemplate = (request: CreateTemplateRequest, call: Call) => Promise<Operation>;

export function createTemplate(deps: ImportDeps, jobs: JobClient, idempotency: Idempotency): CreateTemplate {
  const accept = idempotency.method<Json, Operation>({
    name: '/nephos.template.v1.TemplateService/CreateTemplate',
    carryOut: async ({ entityUid, jobUid, body, principal, onBehalfOf = '', requestId }) => {
      const { template, source, expectedSha256 } = body as unknown as Body;
      await insertOnce(deps.templates, entityUid, template);
      const job = await jobs.submit(importTemplate, {
        uid: jobUid,
        input: { templateUid: entityUid, source, expectedSha256 },
        owner: template.header.owner,
        zone: template.header.zone,
        target: `templates/${entityUid}`,
        displayName: `import ${template.header.displayName}`,
        principal,
        onBehalfOf,
        requestId,
      });
      return operationOf(job);
    },
    answer: async ({ jobUid }) => operationOf(await jobs.get(jobUid)),
  });
  return (request, call) =>
    accept(call, CreateTemplateRequest.encode(request).finish(), async () => {
      const entityUid = newUid();
      const jobUid = newUid();
      const body = await bodyOf(request, { entityUid, jobUid }, deps);
      return { entityUid, jobUid, body: body as unknown as Json };
    });
}

async function bodyOf(
  { template, source, expectedSha256 }: CreateTemplateRequest,
  { entityUid, jobUid }: { readonly entityUid: string; readonly jobUid: string },
  { sources, inspector, clock }: ImportDeps,
): Promise<Body> {
  const { header, architecture: asked } = withCheckedHeader(template, 'template');
  const architecture = asked || defaultArchitecture;
  refuseFields([
    ...(sha256Form.test(expectedSha256)
      ? []
      : [{ field: 'expected_sha256', description: 'must be 64 lower-case hex digits' }]),
    ...(architectureForm.test(architecture)
      ? []
      : [{ field: 'template.architecture', description: 'must be a word such as x86_64' }]),
  ]);
  const from = sourceOf(source);
  await inspector.head(await sources.locate(from));
  const record: TemplateRecord = {
    header: newHeader(entityUid, header, clock),
    state: 'importing',
    architecture,
    origin: from.kind === 'built-in' ? `built-in:${from.name}` : path.basename(from.path),
    importJob: jobUid,
  };
  return { template: record, source: from, expectedSha256 };
}

function sourceOf(source: TemplateSource | undefined): Source {
  const said = source?.source;
  switch (said?.$case) {
    case 'builtIn':
      return { kind: 'built-in', name: said.value };
    case 'localFile':
      return { kind: 'file', path: said.value };
    default:
      throw fieldInvalid('source', 'is required: local_file or built_in', true);
  }
}
