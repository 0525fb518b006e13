/** A template as the service knows it: pure. Its image is content, shared by all templates of the same bytes. */
import type { HeaderRecord } from '@nephos/service';

export type TemplateState = 'importing' | 'ready' | 'failed';

export interface TemplateRecord {
  readonly header: HeaderRecord;
  readonly state: TemplateState;
  readonly architecture: string;
  /** For people: `built-in:tiny`, or the file's base name. */
  readonly origin: string;
  /** Uid of the job that imports it. */
  readonly importJob: string;
  /** Known once it is ready. */
  readonly image?: ImageRecord;
  /** Why it failed. */
  readonly failure?: Refusal;
  /** Which requests updated it last (libs/idempotency). */
  readonly requests?: readonly string[];
}

export interface ImageRecord {
  readonly format: 'qcow2' | 'raw';
  /** Lower-case hex. */
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly virtualSizeBytes: number;
}

/** Why an image was not taken: a reason of proto/nephos/common/v1/error.proto, and words. */
export interface Refusal {
  readonly reason: string;
  readonly message: string;
}

export const givenUp: Refusal = { reason: 'JOB_CANCELLED', message: 'the import was given up' };

/** What an import reads. */
export type Source =
  | { readonly kind: 'built-in'; readonly name: string }
  | { readonly kind: 'file'; readonly path: string };

/** An import that is over is never reopened: a repeat of its last step finds it done. */
export function ready(template: TemplateRecord, image: ImageRecord): TemplateRecord | undefined {
  return template.state === 'importing' ? { ...template, state: 'ready', image } : undefined;
}

export function failed(template: TemplateRecord, failure: Refusal): TemplateRecord | undefined {
  return template.state === 'importing' ? { ...template, state: 'failed', failure } : undefined;
}
