/**
 * Tidies what imports leave: failed templates an hour old, partial files of imports that are over, images that no
 * template refers to. It takes no input: each pass compares the records with the disk.
 */
import type { Clock, Logger } from '@nephos/service';
import type { ContentStore } from './adapters/content-store.ts';
import type { Templates } from './records/template.ts';

const passMs = 60_000;
const keepFailedMs = 60 * 60_000;

export interface SweeperParts {
  readonly templates: Templates;
  readonly content: ContentStore;
  readonly clock: Clock;
  readonly log: Logger;
}

export async function sweepTemplates(parts: SweeperParts, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await sweepOnce(parts);
    await parts.clock.sleep(passMs, signal).catch(() => undefined);
  }
}

export async function sweepOnce({ templates, content, clock, log }: SweeperParts): Promise<void> {
  const before = clock.now().getTime() - keepFailedMs;
  const failures = await templates.find({ where: { state: 'failed' }, limit: 500 });
  for (const { id, revision, value } of failures.items) {
    if (new Date(value.header.updateTime).getTime() > before) continue;
    await templates.remove(id, { expected: revision });
    log.info({ template: id }, 'a template that failed to import was removed');
  }
  for (const uid of await content.partials()) {
    const template = await templates.get(uid);
    if (template?.value.state !== 'importing') await content.discard(uid);
  }
  for (const sha256 of await content.images()) await removeUnused(sha256, { templates, content });
}

/**
 * Removes an image that no template refers to. An import that has kept its image but is not marked ready yet
 * holds it too: images are left alone while any import runs.
 */
export async function removeUnused(
  sha256: string,
  { templates, content }: Pick<SweeperParts, 'templates' | 'content'>,
): Promise<void> {
  await content.removeIf(sha256, async () => {
    const importing = await templates.count({ state: 'importing' });
    const referring = await templates.count({ 'image.sha256': sha256 });
    return importing === 0 && referring === 0;
  });
}
