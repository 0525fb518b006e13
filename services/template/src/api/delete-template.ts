/** DeleteTemplate, carried out once a request (AIP-155): the image goes with the last template that has it. */
import { type Idempotency, removing } from '@nephos/idempotency';
import type { Empty } from '@nephos/proto/google/protobuf/empty';
import type { DeleteTemplateRequest } from '@nephos/proto/nephos/template/v1/template';
import { findResource } from '@nephos/resources';
import { type Call, checkEtag, Precondition } from '@nephos/service';
import type { Stored } from '@nephos/store';
import type { TemplateRecord } from '../domain/template.ts';
import type { ImportDeps } from '../jobs/import.ts';
import { removeUnused } from '../sweeper.ts';

/** `sha256` is empty for a template without an image. */
type RemovalBody = { readonly name: string; readonly etag: string; readonly sha256: string };

type Deps = Pick<ImportDeps, 'templates' | 'content'>;

export function deleteTemplate({ templates, content }: Deps, idempotency: Idempotency) {
  const check = (stored: Stored<TemplateRecord>, { name, etag }: Omit<RemovalBody, 'sha256'>): void => {
    checkEtag(etag, stored.id, stored.eventSeq);
    if (stored.value.state === 'importing') throw stillImporting(name);
  };
  const remove = removing<TemplateRecord, RemovalBody>(idempotency, {
    name: '/nephos.template.v1.TemplateService/DeleteTemplate',
    entity: templates,
    check,
    removed: async (_uid, { sha256 }) => {
      if (sha256 !== '') await removeUnused(sha256, { templates, content });
    },
  });
  return async ({ name, etag }: DeleteTemplateRequest, call: Call): Promise<Empty> => {
    await remove(call, Buffer.from(JSON.stringify([name, etag])), async () => {
      const stored = await findResource(templates, name);
      check(stored, { name, etag });
      return { entityUid: stored.id, body: { name, etag, sha256: stored.value.image?.sha256 ?? '' } };
    });
    return {};
  };
}

function stillImporting(name: string): Precondition {
  const description = `${name} is being imported: cancel its job first, or wait for it`;
  return new Precondition('OPERATION_IN_PROGRESS', description, {
    preconditions: [{ type: 'OPERATION_IN_PROGRESS', subject: name, description }],
  });
}
