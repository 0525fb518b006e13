/**
 * Copies every READY image that this instance lacks from an instance that has it, so that the loss of one loses nothing.
 * It takes no input: each pass compares the records with the disk. One image at a time; a crash leaves a fetched part,
 * which the next pass goes on with.
 */
import type { Clock, Logger } from '@nephos/service';
import type { ContentStore } from './adapters/content-store.ts';
import type { Peers } from './adapters/peers.ts';
import type { Templates } from './records/template.ts';

const passMs = 5_000;
const pageSize = 500;

export interface CopierParts {
  readonly templates: Templates;
  readonly content: ContentStore;
  readonly peers: Pick<Peers, 'read'>;
  readonly clock: Clock;
  readonly log: Logger;
}

export async function copyImages(parts: CopierParts, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await copyOnce(parts, signal);
    await parts.clock.sleep(passMs, signal).catch(() => undefined);
  }
}

/** One pass. */
export async function copyOnce(parts: CopierParts, signal: AbortSignal): Promise<void> {
  const { templates, content } = parts;
  const wanted = new Set<string>();
  let cursor: string | undefined;
  do {
    const where = { state: 'ready' };
    const page = await templates.find({ where, limit: pageSize, ...(cursor !== undefined && { cursor }) });
    for (const { id, value } of page.items) {
      if (signal.aborted) return;
      if (value.image === undefined) continue;
      wanted.add(value.image.sha256);
      if (!(await content.has(value.image.sha256))) await copyOne(parts, id, value.image, signal);
    }
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  for (const sha256 of await content.fetches()) if (!wanted.has(sha256)) await content.discardFetch(sha256);
}

async function copyOne(
  { content, peers, log }: CopierParts,
  uid: string,
  image: { readonly sha256: string; readonly sizeBytes: number },
  signal: AbortSignal,
): Promise<void> {
  const name = `templates/${uid}`;
  const bytes = async function* (offset: number): AsyncGenerator<Uint8Array> {
    for await (const { data } of peers.read({ name, offset, end: image.sizeBytes, signal })) yield data;
  };
  try {
    await content.fetch(image, bytes);
    log.info({ template: uid, sha256: image.sha256, bytes: image.sizeBytes }, 'copied an image from a peer');
  } catch (error) {
    if (!signal.aborted)
      log.warn({ err: error, template: uid }, 'an image could not be copied; the next pass tries');
  }
}
