/** Templates as stored, and the public message they become. Owner: the template service, the only writer. */
import { defineEntity, type EntityCollection } from '@nephos/events';
import { Status } from '@nephos/proto/google/rpc/status';
import {
  Template_Format as Format,
  Template_State as State,
  Template,
} from '@nephos/proto/nephos/template/v1/template';
import { enumOf, headerMessage } from '@nephos/service';
import { defineCollection } from '@nephos/store';
import type { TemplateRecord } from '../domain/template.ts';

export type Templates = EntityCollection<TemplateRecord, Template>;

const states = { importing: State.IMPORTING, ready: State.READY, failed: State.FAILED } as const;
const formats = { qcow2: Format.QCOW2, raw: Format.RAW } as const;
/** google.rpc.Code INVALID_ARGUMENT: every refusal is of what was sent. */
const invalidArgument = 3;

export const templateEntity = defineEntity<TemplateRecord, Template>({
  entity: 'template',
  collection: 'templates',
  message: Template,
  store: defineCollection<TemplateRecord>({
    name: 'templates',
    schemaVersion: 1,
    indexes: {
      display_name: { fields: ['header.owner', 'header.zone', 'header.displayName'], unique: true },
      sha256: { fields: ['image.sha256'] },
      name: { fields: ['header.displayName'] },
      owner: { fields: ['header.owner'] },
      zone: { fields: ['header.zone'] },
      state: { fields: ['state'] },
    },
  }),
  toMessage: ({ value, eventSeq }) => ({
    header: headerMessage('templates', value.header, eventSeq),
    state: enumOf(states, value.state),
    format: value.image === undefined ? Format.UNSPECIFIED : enumOf(formats, value.image.format),
    sha256: value.image?.sha256 ?? '',
    sizeBytes: BigInt(value.image?.sizeBytes ?? 0),
    virtualSizeBytes: BigInt(value.image?.virtualSizeBytes ?? 0),
    architecture: value.architecture,
    origin: value.origin,
    error: value.failure && Status.create({ code: invalidArgument, message: failureText(value.failure) }),
  }),
  place: ({ header }) => header,
});

function failureText({ reason, message }: { reason: string; message: string }): string {
  return `${reason}: ${message}`;
}
