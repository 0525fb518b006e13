/**
 * The subject tree: `nephos.v1.<owner>.<zone>.<entity>.<id>` (and `nephos-jobs.v1.…` for jobs). Pure.
 * A token is the text itself where it is of letters, digits, `_` and `-`; any other byte of its UTF-8 is `%XX`,
 * so that dots, spaces and wildcards never reach the broker. Empty text is `_`, and the text `_` is `%5F`: the
 * escape is reversible, and no two texts share a token. A zone's token is its uid, without `zones/`.
 */
import { Invalid } from '@nephos/service';

/** The roots of the two trees of entity changes. */
export const subjectRoots = { entities: 'nephos.v1', jobs: 'nephos-jobs.v1' } as const;

/** Their first words; the second is the version. */
const rootWords = new Set(Object.values(subjectRoots).map((root) => root.slice(0, root.indexOf('.'))));

/** Which tree, and so which stream, an entity's events go to. */
export type EventTree = keyof typeof subjectRoots;

/** Where an entity stands in the tree. `zone` is a resource name, `zones/{uid}`, or empty. */
export interface EntityAddress {
  readonly entity: string;
  readonly uid: string;
  readonly owner: string;
  readonly zone: string;
}

/** Which entities are meant; what is left out means any. `owner` and `zone` may be empty: those without one. */
export interface EventFilter {
  readonly entity?: string;
  readonly owner?: string;
  /** `zones/{uid}` or the uid alone. */
  readonly zone?: string;
  readonly id?: string;
}

const zonePrefix = 'zones/';
const unsafe = /[^A-Za-z0-9_-]/g;

/** What stands for itself, as nearly all tokens do; `_` alone does not. */
const plain = /^[A-Za-z0-9_-]+$/;

export function encodeToken(text: string): string {
  if (text === '') return '_';
  if (text === '_') return '%5F';
  if (plain.test(text)) return text;
  return text.replace(/[^A-Za-z0-9_-]+/g, escapeBytes);
}

function escapeBytes(text: string): string {
  let escaped = '';
  for (const byte of Buffer.from(text, 'utf8'))
    escaped += `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  return escaped;
}

/** Throws `Invalid` on a token that `encodeToken` cannot have made. */
export function decodeToken(token: string): string {
  if (token === '_') return '';
  if (plain.test(token)) return token;
  try {
    const text = decodeURIComponent(token);
    if (encodeToken(text) === token) return text;
  } catch {
    // Malformed escapes: refused below with the rest.
  }
  throw new Invalid('FIELD_INVALID', `"${token.replace(unsafe, '?')}" is not a token of an event subject`);
}

export function subjectOf(tree: EventTree, address: EntityAddress): string {
  const zone = encodeToken(withoutPrefix(address.zone));
  const id = encodeToken(address.uid);
  return `${subjectRoots[tree]}.${encodeToken(address.owner)}.${zone}.${address.entity}.${id}`;
}

/** What was read of subjects up to their last token: the entities of a subscription share a few of these. */
const knownPlaces = new Map<string, Omit<EntityAddress, 'uid'>>();
const mostKnownPlaces = 1000;

/** The other way round; throws `Invalid` on what is not a subject of either tree. */
export function parseSubject(subject: string): EntityAddress {
  const lastDot = subject.lastIndexOf('.');
  const place = subject.slice(0, lastDot);
  const known = knownPlaces.get(place);
  if (known !== undefined) {
    const { entity, owner, zone } = known;
    return { entity, uid: decodeToken(subject.slice(lastDot + 1)), owner, zone };
  }
  const address = parseWhole(subject);
  if (knownPlaces.size < mostKnownPlaces) knownPlaces.set(place, address);
  return address;
}

function parseWhole(subject: string): EntityAddress {
  const [root, version, owner, zone, entity, id, more] = subject.split('.');
  const known = version === 'v1' && root !== undefined && rootWords.has(root);
  if (!known || !owner || !zone || !entity || !id || more !== undefined) {
    throw new Invalid('FIELD_INVALID', `"${subject}" is not an event subject`);
  }
  const zoneUid = decodeToken(zone);
  return {
    entity,
    uid: decodeToken(id),
    owner: decodeToken(owner),
    zone: zoneUid === '' ? '' : zonePrefix + zoneUid,
  };
}

/** The subject, with wildcards, of all events that the filter means. */
export function filterSubject(tree: EventTree, filter: EventFilter): string {
  const any = (text: string | undefined): string => (text === undefined ? '*' : encodeToken(text));
  const zone = filter.zone === undefined ? undefined : withoutPrefix(filter.zone);
  const entity = filter.entity ?? '*';
  return `${subjectRoots[tree]}.${any(filter.owner)}.${any(zone)}.${entity}.${any(filter.id)}`;
}

function withoutPrefix(zone: string): string {
  return zone.startsWith(zonePrefix) ? zone.slice(zonePrefix.length) : zone;
}
