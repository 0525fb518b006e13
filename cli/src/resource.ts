/**
 * One kind of resource, declared once: how it is listed, got and shown. The commands that all kinds share (list,
 * show, delete) and the finding of a resource by what a person calls it come from here.
 */
import type { Platform } from '@nephos/client';
import type { ResourceHeader } from '@nephos/proto/nephos/common/v1/resource';
import { Invalid, isUid, NotFound } from '@nephos/service';
import type { Command } from 'commander';
import type { Session } from './session.ts';
import { type Column, fields, type Json } from './table.ts';

export interface Named {
  readonly header?: ResourceHeader | undefined;
}

export interface ListQuery {
  readonly filter: string;
  readonly pageSize: number;
  readonly pageToken: string;
  /** Also what was deleted and can be recovered, where the kind knows that. */
  readonly showDeleted?: boolean;
}

export interface Page<M> {
  readonly items: readonly M[];
  readonly nextPageToken: string;
}

export interface ResourceKind<M extends Named> {
  /** E.g. `zone`. */
  readonly word: string;
  /** The collection in resource names, e.g. `zones`. */
  readonly collection: string;
  /** The group of commands, where it is not the collection's words with hyphens. */
  readonly group?: string;
  /** They have no display names. */
  readonly nameless?: boolean;
  readonly columns: readonly Column[];
  list(platform: Platform, query: ListQuery): Promise<Page<M>>;
  get(platform: Platform, name: string): Promise<M>;
  toJson(message: M): unknown;
}

const largestPage = 500;
const defaultLimit = 1000;
const shortestPart = 6;

/** All that match, page by page, at most `limit`. `more`: there are further ones. */
export async function listAll<M extends Named>(
  session: Session,
  kind: ResourceKind<M>,
  query: { readonly filter?: string | undefined; readonly limit?: number; readonly showDeleted?: boolean },
): Promise<{ readonly items: M[]; readonly more: boolean }> {
  const { filter = '', limit = defaultLimit, showDeleted = false } = query;
  const items: M[] = [];
  let pageToken = '';
  do {
    const pageSize = Math.min(largestPage, limit - items.length);
    const page = await kind.list(session.platform, { filter, pageSize, pageToken, showDeleted });
    items.push(...page.items);
    pageToken = page.nextPageToken;
  } while (pageToken !== '' && items.length < limit);
  return { items, more: pageToken !== '' };
}

/**
 * The resource name of what a person means: a resource name, a uid, the beginning or end of one, or a display name.
 * Tables print long names as `vms/…<end of the uid>`: that is understood as well.
 */
export async function findName<M extends Named>(
  session: Session,
  kind: ResourceKind<M>,
  spoken: string,
): Promise<string> {
  const { collection, word, group = hyphenated(collection), nameless = false } = kind;
  const reference = spoken.startsWith(`${collection}/…`) ? spoken.slice(collection.length + 2) : spoken;
  if (reference.startsWith(`${collection}/`)) return reference;
  if (isUid(reference)) return `${collection}/${reference}`;
  const filter = `display_name = ${JSON.stringify(reference)}`;
  let found: M[] = [];
  if (!nameless) ({ items: found } = await listAll(session, kind, { filter, limit: 2, showDeleted: true }));
  if (found.length === 0 && /^[0-9a-f-]+$/.test(reference) && reference.length >= shortestPart) {
    const { items } = await listAll(session, kind, { showDeleted: true });
    found = items.filter(
      ({ header: { uid = '' } = {} }) => uid.startsWith(reference) || uid.endsWith(reference),
    );
  }
  const [only, ...others] = found;
  if (only === undefined) {
    const text = `there is no ${word} "${spoken}"; "nephos ${group} list" shows what there is`;
    throw new NotFound('RESOURCE_NOT_FOUND', text);
  }
  if (others.length > 0) {
    const uids = found.map(({ header }) => header?.uid ?? '').join(', ');
    throw new Invalid('FIELD_INVALID', `"${reference}" is more than one ${word}: ${uids}; use a uid`);
  }
  return only.header?.name ?? '';
}

/** What findName understands, for help. */
export function meanings({ nameless = false }: { readonly nameless?: boolean }): string {
  return `its name, its uid, the beginning or end of that${nameless ? '' : ', or its display name'}`;
}

function hyphenated(collection: string): string {
  return collection.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

export function printOne<M extends Named>(session: Session, kind: ResourceKind<M>, message: M): void {
  const json = kind.toJson(message);
  if (session.json) session.document(json);
  else session.out(fields(json));
}

export function printMany<M extends Named>(
  session: Session,
  kind: ResourceKind<M>,
  messages: readonly M[],
): void {
  const rows = messages.map((message) => kind.toJson(message));
  if (session.json) session.document(rows);
  else session.table(kind.columns, rows as Json[]);
}

export interface ListOptions {
  readonly filter?: string;
  readonly limit: string;
  readonly deleted?: boolean;
}

/** Adds `list` and `show`. `softDelete`: the kind keeps what is deleted for a while. */
export function addReading<M extends Named>(
  group: Command,
  session: Session,
  kind: ResourceKind<M>,
  { softDelete = false }: { readonly softDelete?: boolean } = {},
): void {
  const list = group
    .command('list')
    .description(`list ${group.name()}, newest first`)
    .option('--filter <text>', 'e.g. \'display_name = "web*" AND labels.tier = "front"\'')
    .option('--limit <number>', 'at most so many', String(defaultLimit))
    .action(async ({ filter, limit, deleted = false }: ListOptions) => {
      const query = { filter, limit: positive('--limit', limit), showDeleted: deleted };
      const { items, more } = await listAll(session, kind, query);
      printMany(session, kind, items);
      if (more) session.note(`There are more: --limit is ${limit}.`);
    });
  if (softDelete) list.option('--deleted', 'also those that are destroyed and can be recovered');
  group
    .command('show')
    .description(`everything about one ${kind.word}`)
    .argument(`<${kind.word}>`, meanings(kind))
    .action(async (reference: string) => {
      const name = await findName(session, kind, reference);
      printOne(session, kind, await kind.get(session.platform, name));
    });
}

/** Adds `delete` for kinds that go at once. */
export function addDelete<M extends Named>(
  group: Command,
  session: Session,
  kind: ResourceKind<M>,
  remove: (platform: Platform, name: string) => Promise<unknown>,
): void {
  group
    .command('delete')
    .description(`delete a ${kind.word} that nothing uses`)
    .argument(`<${kind.word}>`)
    .action(async (reference: string) => {
      const name = await findName(session, kind, reference);
      await remove(session.platform, name);
      if (session.json) session.document({ name });
      else session.out(`deleted ${name}`);
    });
}

export function positive(option: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new Invalid('FIELD_INVALID', `${option} is a whole number from 1, not "${text}"`);
}

const units: Readonly<Record<string, bigint>> = {
  '': 1n,
  K: 2n ** 10n,
  M: 2n ** 20n,
  G: 2n ** 30n,
  T: 2n ** 40n,
};

/** `512MiB`, `2G`, `1073741824`: powers of 1,024. */
export function bytesOf(option: string, text: string): bigint {
  const match = /^(\d+)\s*([KMGT]?)(i?B)?$/i.exec(text);
  const unit = units[match?.[2]?.toUpperCase() ?? ''];
  if (match?.[1] === undefined || unit === undefined) {
    throw new Invalid('FIELD_INVALID', `${option} is a size such as 512MiB or 2GiB, not "${text}"`);
  }
  return BigInt(match[1]) * unit;
}

/** `--label key=value`, as often as wanted. */
export function collectLabel(
  text: string,
  labels: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const at = text.indexOf('=');
  if (at < 1) throw new Invalid('FIELD_INVALID', `--label is key=value, not "${text}"`);
  return { ...labels, [text.slice(0, at)]: text.slice(at + 1) };
}
