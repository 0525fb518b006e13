/** UpdateTemplate and DeleteTemplate, each carried out once a request (AIP-155). */
import { type Idempotency, removing, updating } from '@nephos/idempotency';
import type { Empty } from '@nephos/proto/google/protobuf/empty';
import {
  type DeleteTemplateRequest,
  type Template,
  UpdateTemplateRequest,
} from '@nephos/proto/nephos/template/v1/template';
import {
  AlreadyExists,
  applyUpdateMask,
  type Call,
  checkEtag,
  checkHeader,
  fieldInvalid,
  notFound,
  Precondition,
  parseResourceName,
  touched,
} from '@nephos/service';
import type { Stored } from '@nephos/store';
import type { TemplateRecord } from '../domain/template.ts';
import type { ImportDeps } from '../jobs/import.ts';
import { removeUnused } from '../sweeper.ts';

const contract = 'nephos.template.v1.TemplateService';
const changeable = ['header.display_name', 'header.labels', 'header.annotations'];

/** The request as it was sent, base64. */
type UpdateBody = { readonly request: string };
/** `sha256` is empty for a template without an image. */
type RemovalBody = { readonly name: string; readonly etag: string; readonly sha256: string };

type Deps = Pick<ImportDeps, 'templates' | 'content' | 'clock'>;

export function updateTemplate({ templates, clock }: Deps, idempotency: Idempotency) {
  const change = (stored: Stored<TemplateRecord>, body: UpdateBody): TemplateRecord => {
    const { template, updateMask } = UpdateTemplateRequest.decode(Buffer.from(body.request, 'base64'));
    if (template === undefined) throw fieldInvalid('template', 'is required', true);
    checkEtag(template.header?.etag ?? '', stored.id, stored.eventSeq);
    const { header } = applyUpdateMask(templates.message(stored), template, updateMask, changeable);
    if (header === undefined) throw fieldInvalid('template.header', 'is required', true);
    checkHeader(header, 'template.header');
    const { displayName, labels, annotations } = header;
    const named = { ...stored.value.header, displayName, labels, annotations };
    return { ...stored.value, header: touched(named, clock) };
  };
  const update = updating<TemplateRecord, Template, UpdateBody>(idempotency, {
    name: `/${contract}/UpdateTemplate`,
    entity: templates,
    change,
    refused: nameTaken,
  });
  return (request: UpdateTemplateRequest, call: Call): Promise<Template> => {
    const bytes = UpdateTemplateRequest.encode(request).finish();
    return update(call, bytes, async () => {
      const sent = request.template?.header;
      if (sent === undefined) throw fieldInvalid('template.header', 'is required', true);
      const stored = await find(templates, sent.name, 'template.header.name');
      const body = { request: Buffer.from(bytes).toString('base64') };
      change(stored, body);
      return { entityUid: stored.id, body };
    });
  };
}

export function deleteTemplate({ templates, content }: Deps, idempotency: Idempotency) {
  const check = (stored: Stored<TemplateRecord>, { name, etag }: Omit<RemovalBody, 'sha256'>): void => {
    checkEtag(etag, stored.id, stored.eventSeq);
    if (stored.value.state === 'importing') throw stillImporting(name);
  };
  const remove = removing<TemplateRecord, RemovalBody>(idempotency, {
    name: `/${contract}/DeleteTemplate`,
    entity: templates,
    check,
    removed: async (_uid, { sha256 }) => {
      if (sha256 !== '') await removeUnused(sha256, { templates, content });
    },
  });
  return async ({ name, etag }: DeleteTemplateRequest, call: Call): Promise<Empty> => {
    await remove(call, Buffer.from(JSON.stringify([name, etag])), async () => {
      const stored = await find(templates, name, 'name');
      check(stored, { name, etag });
      return { entityUid: stored.id, body: { name, etag, sha256: stored.value.image?.sha256 ?? '' } };
    });
    return {};
  };
}

/** Throws `NotFound`, `Invalid` naming the field. */
export async function find(
  templates: Deps['templates'],
  name: string,
  field: string,
): Promise<Stored<TemplateRecord>> {
  const uid = parseResourceName('templates', name, field);
  const stored = await templates.get(uid);
  if (stored === undefined) throw notFound('templates', uid);
  return stored;
}

function nameTaken(error: unknown): unknown {
  if (!(error instanceof AlreadyExists)) return error;
  return new AlreadyExists('DISPLAY_NAME_TAKEN', 'the display name is taken: choose another');
}

function stillImporting(name: string): Precondition {
  const description = `${name} is being imported: cancel its job first, or wait for it`;
  return new Precondition('OPERATION_IN_PROGRESS', description, {
    preconditions: [{ type: 'OPERATION_IN_PROGRESS', subject: name, description }],
  });
}
