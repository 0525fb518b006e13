/**
 * What every API does with the common parts of a resource: its name, its header's fields and its etag. Pure.
 * The limits are those that proto/nephos/common/v1/resource.proto states.
 */
import { Conflict, type FieldViolation, Invalid, NotFound } from './errors.ts';
import { isUid } from './uid.ts';

/**
 * The uid of `{collection}/{uid}` (AIP-122). Throws Invalid where it is no such name, NotFound where it is one
 * that nothing can have. `field` is where the request has it.
 */
export function parseResourceName(collection: string, name: string, field = 'name'): string {
  const prefix = `${collection}/`;
  const uid = name.slice(prefix.length);
  if (!name.startsWith(prefix) || uid === '' || uid.includes('/')) {
    const shown = JSON.stringify(name.slice(0, 100));
    throw fieldInvalid(
      field,
      name === '' ? `is required: ${prefix}{uid}` : `is ${shown}; allowed: ${prefix}{uid}`,
      name === '',
    );
  }
  if (!isUid(uid)) throw notFound(collection, uid);
  return uid;
}

/** The error for a resource that is not there. */
export function notFound(collection: string, uid: string): NotFound {
  return new NotFound('RESOURCE_NOT_FOUND', `${collection}/${uid} is not there`, {
    metadata: { resource: `${collection}/${uid}` },
  });
}

/** The error for one refused field. */
export function fieldInvalid(field: string, description: string, missing = false): Invalid {
  const reason = missing ? 'FIELD_REQUIRED' : 'FIELD_INVALID';
  return new Invalid(reason, `${field} ${description}`, { fields: [{ field, description }] });
}

const displayNameForm = /^[\p{L}\p{N}_. -]{1,63}$/u;
const labelKeyForm = /^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/;
const controlCharacter = /\p{Cc}/u;
const most = { labels: 64, labelValue: 63, annotationBytes: 32 * 1024, owner: 128 } as const;

type Pairs = Readonly<Record<string, string>>;

/** What is wrong with a display name; undefined: nothing. */
function displayNameFault(name: string): string | undefined {
  if (displayNameForm.test(name) && name.trim() === name) return undefined;
  return 'must be 1 to 63 letters, digits, `-`, `_`, `.` and inner spaces';
}

function labelFaults(labels: Pairs, field: string): FieldViolation[] {
  const faults: FieldViolation[] = [];
  const pairs = Object.entries(labels);
  if (pairs.length > most.labels) faults.push({ field, description: `at most ${most.labels} pairs` });
  for (const [key, value] of pairs.slice(0, most.labels)) {
    if (!labelKeyForm.test(key)) {
      const description =
        'a key is 1 to 63 letters, digits, `.`, `_`, `-` and `/`, letters or digits at its ends';
      faults.push({ field: `${field}.${key.slice(0, 63)}`, description });
    }
    if (value.length > most.labelValue || controlCharacter.test(value)) {
      const description = `a value has at most ${most.labelValue} characters and no control characters`;
      faults.push({ field: `${field}.${key.slice(0, 63)}`, description });
    }
  }
  return faults;
}

function annotationFaults(annotations: Pairs, field: string): FieldViolation[] {
  let bytes = 0;
  for (const [key, value] of Object.entries(annotations))
    bytes += Buffer.byteLength(key) + Buffer.byteLength(value);
  return bytes > most.annotationBytes ? [{ field, description: 'at most 32 KiB in all' }] : [];
}

/** Throws Invalid with every violation, if there is one. */
export function refuseFields(faults: readonly FieldViolation[]): void {
  if (faults.length === 0) return;
  const text = faults.slice(0, 5).map(({ field, description }) => `${field}: ${description}`);
  throw new Invalid('FIELD_INVALID', text.join('; '), { fields: faults });
}

export function checkDisplayName(name: string, field = 'header.display_name'): void {
  const description = displayNameFault(name);
  if (description !== undefined) refuseFields([{ field, description }]);
}

export function checkLabels(labels: Pairs, field = 'header.labels'): void {
  refuseFields(labelFaults(labels, field));
}

export function checkAnnotations(annotations: Pairs, field = 'header.annotations'): void {
  refuseFields(annotationFaults(annotations, field));
}

/** An owner is opaque, yet short and printable: it becomes part of subjects and lines. Empty: nobody's. */
export function checkOwner(owner: string, field = 'header.owner'): void {
  if (owner.length > most.owner || controlCharacter.test(owner)) {
    refuseFields([
      { field, description: `at most ${most.owner} characters, none of them a control character` },
    ]);
  }
}

/** All that a creator may set in a header, checked at once. `field` is where the request has the header. */
export function checkHeader(
  header: { displayName: string; owner: string; labels: Pairs; annotations: Pairs },
  field = 'header',
): void {
  const name = displayNameFault(header.displayName);
  refuseFields([
    ...(name === undefined ? [] : [{ field: `${field}.display_name`, description: name }]),
    ...labelFaults(header.labels, `${field}.labels`),
    ...annotationFaults(header.annotations, `${field}.annotations`),
  ]);
  checkOwner(header.owner, `${field}.owner`);
}

/** Opaque to callers (AIP-154). `revision` rises with each change of the public resource. */
export function etagOf(uid: string, revision: number): string {
  return `${uid.slice(-12)}-${revision.toString(36)}`;
}

/** Throws Conflict where the caller acts on an older version. An empty etag asks for no check. */
export function checkEtag(etag: string, uid: string, revision: number): void {
  if (etag === '' || etag === etagOf(uid, revision)) return;
  throw new Conflict('ETAG_MISMATCH', 'the resource has changed since it was read: read it again', {
    metadata: { current: etagOf(uid, revision) },
  });
}
