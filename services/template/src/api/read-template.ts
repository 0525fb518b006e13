/**
 * ReadTemplate: a range of an image, from this instance's disk or passed on from a peer that has it. Who reads checks
 * the hash of the whole; what is passed on is kept nowhere.
 */
import type { ReadTemplateRequest, ReadTemplateResponse } from '@nephos/proto/nephos/template/v1/template';
import { findResource } from '@nephos/resources';
import { NotFound, Precondition, refuseFields } from '@nephos/service';
import type { ContentStore } from '../adapters/content-store.ts';
import type { Peers } from '../adapters/peers.ts';
import type { TemplateRecord } from '../domain/template.ts';
import type { Templates } from '../records/template.ts';

export interface ReadParts {
  readonly templates: Templates;
  readonly content: ContentStore;
  readonly peers: Pick<Peers, 'read'>;
}

export async function* readTemplate(
  { templates, content, peers }: ReadParts,
  { name, offset, length, localOnly }: ReadTemplateRequest,
  signal: AbortSignal,
): AsyncGenerator<ReadTemplateResponse> {
  const { value } = await findResource(templates, name);
  if (value.image === undefined) throw notReady(name, value);
  const { sha256, sizeBytes } = value.image;
  if (offset < 0n || offset > BigInt(sizeBytes) || length < 0n) {
    refuseFields([{ field: 'offset', description: `must be 0 to ${sizeBytes}, and length not below 0` }]);
  }
  const from = Number(offset);
  const end = length === 0n ? sizeBytes : Math.min(sizeBytes, from + Number(length));
  const here = await content.has(sha256);
  if (!here && localOnly) throw new NotFound('RESOURCE_NOT_FOUND', `the image of ${name} is not here`);
  if (from === end) return;
  const pieces = here
    ? content.read(sha256, from, end - from)
    : peers.read({ name, offset: from, end, signal });
  for await (const { offset: at, data } of pieces) yield { offset: BigInt(at), data: Buffer.from(data) };
}

function notReady(name: string, { state }: TemplateRecord): Precondition {
  const description = `${name} is ${state}: it has no image`;
  return new Precondition('STATE_FORBIDS', description, {
    preconditions: [{ type: 'STATE_FORBIDS', subject: name, description }],
  });
}
