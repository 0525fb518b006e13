/**
 * `template.import`: reads a source once into the content store, judges it there, keeps it. What is refused is a
 * result, not an error, until it is written down: the template says why it failed before the job does.
 * A crash anywhere is taken up at the step that was not recorded; undone, the import leaves no file and a template
 * that says it was given up.
 */
import { defineJob, type JobContext } from '@nephos/jobs';
import { Template } from '@nephos/proto/nephos/template/v1/template';
import { type Clock, Invalid, NotFound, type Reason, touched } from '@nephos/service';
import type { ContentStore } from '../adapters/content-store.ts';
import type { Inspector } from '../adapters/inspector.ts';
import type { Sources } from '../adapters/sources.ts';
import {
  failed,
  givenUp,
  type ImageRecord,
  type Refusal,
  ready,
  type Source,
  type TemplateRecord,
} from '../domain/template.ts';
import type { Templates } from '../records/template.ts';

export interface ImportInput {
  readonly templateUid: string;
  readonly source: Source;
  /** Lower-case hex; empty for any. */
  readonly expectedSha256: string;
}

export interface ImportDeps {
  readonly templates: Templates;
  readonly content: ContentStore;
  readonly sources: Sources;
  readonly inspector: Inspector;
  readonly clock: Clock;
  /** The largest file taken. */
  readonly mostFileBytes: number;
}

type Outcome<T> =
  | { readonly kind: 'done'; readonly value: T }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

export const importTemplate = defineJob<ImportInput, object, ImportDeps>({
  type: 'template.import',
  version: 1,
  timeoutMs: 6 * 60 * 60_000,
  events: 'all',
  async run(job, deps) {
    const copied = await job.step('read', ({ signal }) => refusing(() => read(job, deps, signal)), {
      undo: () => giveUp(job.input.templateUid, deps),
    });
    if (copied.kind === 'refused') return refuse(job, deps, copied.refusal);
    job.progress(80, 'checking the image');
    const judged = await job.step('judge', ({ signal }) =>
      refusing(() => judge(job, deps, copied.value, signal)),
    );
    if (judged.kind === 'refused') return refuse(job, deps, judged.refusal);
    const image = judged.value;
    await job.step('keep', ({ signal }) => keep(job, deps, image.sha256, signal));
    return job.step('ready', async ({ signal }) => {
      // Another instance may have kept it, and died: a template is ready where its image is.
      await keep(job, deps, image.sha256, signal);
      job.progress(100, 'ready');
      const stored = await settle(job.input.templateUid, deps, (template) => ready(template, image));
      const message = Template.toJSON(deps.templates.message(stored)) as object;
      return { '@type': `type.googleapis.com/${Template.$type}`, ...message };
    });
  },
});

async function read(
  job: JobContext<ImportInput>,
  { content, sources, mostFileBytes: mostBytes }: ImportDeps,
  signal: AbortSignal,
) {
  await using handle = await sources.open(job.input.source);
  const { size } = await handle.stat();
  return await content.copy(handle, job.input.templateUid, {
    signal,
    mostBytes,
    progress: (bytes) =>
      job.progress(Math.floor(75 * Math.min(1, bytes / Math.max(size, 1))), 'reading the image'),
  });
}

/** Makes sure that the image is on this instance's disk; what another instance had read is read again here. */
async function present(
  job: JobContext<ImportInput>,
  deps: ImportDeps,
  sha256: string,
  signal: AbortSignal,
): Promise<string> {
  const { content } = deps;
  const { templateUid } = job.input;
  if (await content.has(sha256)) return content.imagePath(sha256);
  if (!content.hasPartial(templateUid, sha256)) {
    const copied = await read(job, deps, signal);
    if (copied.sha256 !== sha256) {
      throw new Invalid(
        'CHECKSUM_MISMATCH',
        `the source changed while it was imported: it is ${copied.sha256} now`,
      );
    }
  }
  return content.partialPath(templateUid);
}

async function keep(
  job: JobContext<ImportInput>,
  deps: ImportDeps,
  sha256: string,
  signal: AbortSignal,
): Promise<void> {
  await present(job, deps, sha256, signal);
  await deps.content.keep(job.input.templateUid, sha256);
}

async function judge(
  job: JobContext<ImportInput>,
  deps: ImportDeps,
  { sha256, sizeBytes }: { readonly sha256: string; readonly sizeBytes: number },
  signal: AbortSignal,
): Promise<ImageRecord> {
  const { expectedSha256 } = job.input;
  if (expectedSha256 !== '' && expectedSha256 !== sha256) {
    throw new Invalid('CHECKSUM_MISMATCH', `the image has SHA-256 ${sha256}, not ${expectedSha256}`);
  }
  const { facts, deep } = await deps.inspector.judge(await present(job, deps, sha256, signal));
  if (!deep) job.annotate('qemu-img is not installed: only the head of the image was checked');
  return { format: facts.format, virtualSizeBytes: facts.virtualSizeBytes, sha256, sizeBytes };
}

/** What is wrong with the image itself is a result; anything else is an error, and tried again. */
async function refusing<T>(work: () => Promise<T>): Promise<Outcome<T>> {
  try {
    return { kind: 'done', value: await work() };
  } catch (error) {
    if (!(error instanceof Invalid)) throw error;
    return { kind: 'refused', refusal: { reason: error.reason, message: error.message } };
  }
}

async function refuse(job: JobContext<ImportInput>, deps: ImportDeps, refusal: Refusal): Promise<never> {
  await job.step('refuse', async () => {
    await deps.content.discard(job.input.templateUid);
    await settle(job.input.templateUid, deps, (template) => failed(template, refusal));
  });
  throw new Invalid(refusal.reason as Reason, refusal.message);
}

async function giveUp(templateUid: string, deps: ImportDeps): Promise<void> {
  await deps.content.discard(templateUid);
  try {
    await settle(templateUid, deps, (template) => failed(template, givenUp));
  } catch (error) {
    if (!(error instanceof NotFound)) throw error;
  }
}

function settle(
  templateUid: string,
  { templates, clock }: ImportDeps,
  change: (template: TemplateRecord) => TemplateRecord | undefined,
) {
  return templates.modify(templateUid, (template) => {
    const next = change(template);
    return next && { ...next, header: touched(next.header, clock) };
  });
}
