/**
 * Tidies what imports leave: templates whose import ended without a word, failed templates an hour old, partial files
 * of imports that are over, images that no template refers to. It takes no input: each pass compares the records with
 * the jobs and the disk.
 */
import { isOver, type JobClient } from '@nephos/jobs';
import type { Job } from '@nephos/proto/nephos/jobs/v1/jobs';
import { type Clock, Conflict, fromStatusMessage, type Logger, NotFound, touched } from '@nephos/service';
import type { Stored } from '@nephos/store';
import type { ContentStore } from './adapters/content-store.ts';
import { failed, givenUp, type Refusal, type TemplateRecord } from './domain/template.ts';
import type { Templates } from './records/template.ts';

const passMs = 60_000;
const keepFailedMs = 60 * 60_000;
/** Longer than a request stays open that has not submitted its job yet. */
const awaitJobMs = 60 * 60_000;
const pageSize = 500;

export interface SweeperParts {
  readonly templates: Templates;
  readonly content: ContentStore;
  readonly jobs: Pick<JobClient, 'get'>;
  readonly clock: Clock;
  readonly log: Logger;
}

export async function sweepTemplates(parts: SweeperParts, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await sweepOnce(parts);
    await parts.clock.sleep(passMs, signal).catch(() => undefined);
  }
}

export async function sweepOnce(parts: SweeperParts): Promise<void> {
  const { templates, content } = parts;
  await endImports(parts);
  await removeFailed(parts);
  for (const uid of await content.partials()) {
    const template = await templates.get(uid);
    if (template?.value.state !== 'importing') await content.discard(uid);
  }
  for (const sha256 of await content.images()) await removeUnused(sha256, { templates, content });
}

/** A job that was cancelled before it began, or ended by force, had no step that could mark its template. */
async function endImports(parts: SweeperParts): Promise<void> {
  const { templates, log } = parts;
  const { items } = await templates.find({ where: { state: 'importing' }, limit: pageSize });
  for (const stored of items) {
    try {
      const ending = await endingOf(stored, parts);
      if (ending === undefined) continue;
      await templates.modify(stored.id, (template) => {
        const next = failed(template, ending);
        return next && { ...next, header: touched(next.header, parts.clock) };
      });
    } catch (error) {
      log.warn({ err: error, template: stored.id }, 'it could not be found out whether an import is over');
    }
  }
}

/** Undefined while it may go on. */
async function endingOf(
  { value }: Stored<TemplateRecord>,
  { jobs, clock }: SweeperParts,
): Promise<Refusal | undefined> {
  try {
    const job = await jobs.get(value.importJob);
    return isOver(job.state) ? refusalOf(job) : undefined;
  } catch (error) {
    if (!(error instanceof NotFound)) throw error;
    const age = clock.now().getTime() - new Date(value.header.createTime).getTime();
    return age > awaitJobMs ? givenUp : undefined;
  }
}

function refusalOf({ error }: Job): Refusal {
  if (error === undefined) return givenUp;
  const { reason, message } = fromStatusMessage(error);
  return { reason, message };
}

async function removeFailed({ templates, clock, log }: SweeperParts): Promise<void> {
  const before = clock.now().getTime() - keepFailedMs;
  const { items } = await templates.find({ where: { state: 'failed' }, limit: pageSize });
  for (const { id, revision, value } of items) {
    if (new Date(value.header.updateTime).getTime() > before) continue;
    try {
      await templates.remove(id, { expected: revision });
      log.info({ template: id }, 'a template that failed to import was removed');
    } catch (error) {
      // Somebody else changed or removed it just now: the next pass looks again.
      if (!(error instanceof Conflict || error instanceof NotFound)) throw error;
    }
  }
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
