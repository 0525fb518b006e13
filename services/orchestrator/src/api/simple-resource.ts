/**
 * The standard methods (AIP-131 to 135) of a resource that is only a record: nothing runs behind it. Each kind
 * says what makes it and what may change; idempotency, names, etags, masks, filters and pages are the same for all.
 */
import type { EntityCollection } from '@nephos/events';
import {
  goneSince,
  type Idempotency,
  type IdempotentMethod,
  type Remembering,
  type RequestRecord,
  removing,
  updating,
} from '@nephos/idempotency';
import type { ResourceHeader } from '@nephos/proto/nephos/common/v1/resource';
import {
  AlreadyExists,
  applyUpdateMask,
  type Call,
  type Clock,
  checkEtag,
  checkHeader,
  fieldInvalid,
  type HeaderRecord,
  newHeader,
  newUid,
  notFound,
  Precondition,
  parseResourceName,
  touched,
} from '@nephos/service';
import { type Json, type ListFields, type ListRequest, listPage, type Stored } from '@nephos/store';

interface Message {
  header?: ResourceHeader | undefined;
}

interface HasHeader extends Remembering {
  readonly header: HeaderRecord;
}

export interface SimpleResource<T extends HasHeader, M extends Message> {
  readonly entity: EntityCollection<T, M>;
  /** The contract's full name, e.g. `nephos.orchestration.v1.ZoneService`. */
  readonly contract: string;
  /** What its methods are named after, e.g. `Zone` of CreateZone. */
  readonly kind: string;
  readonly codec: { encode(message: M): { finish(): Uint8Array }; decode(bytes: Uint8Array): M };
  readonly fields: ListFields;
  /** Paths that an update may name. */
  readonly changeable: readonly string[];
  /** Checks the rest of the message and makes the record. Throws `Invalid`, `NotFound`. */
  build(message: M, header: HeaderRecord): T | Promise<T>;
  /** The record with what changed in the message, other than its header. */
  change(record: T, message: M): T;
  /** What still uses it, in words; undefined: it may be deleted, and what may begin to use it is kept from that. */
  usedBy(uid: string): Promise<string | undefined>;
  /** Takes that back: it was not deleted after all. */
  readonly notRemoved?: (uid: string) => Promise<void>;
  /** Runs after the insert and again in any repeat. */
  readonly inserted?: (stored: Stored<T>) => Promise<void>;
  /** Hears of each record written. */
  readonly written?: (stored: Stored<T>) => void | Promise<void>;
  readonly removed?: (uid: string) => void | Promise<void>;
}

export const headerFields = {
  display_name: { path: 'header.displayName', type: 'string' },
  owner: { path: 'header.owner', type: 'string' },
  zone: { path: 'header.zone', type: 'string' },
  labels: { path: 'header.labels', type: 'map' },
} as const satisfies ListFields;

/** What an accepted update keeps: the message as it was sent, so that its mask is applied to what is there then. */
type UpdateBody = { readonly message: string; readonly mask: readonly string[] | null };
type RemovalBody = { readonly name: string; readonly etag: string };

export const headerChangeable = ['header.display_name', 'header.labels', 'header.annotations'];

export class SimpleApi<T extends HasHeader, M extends Message> {
  readonly #resource: SimpleResource<T, M>;
  readonly #clock: Clock;
  readonly #create: ReturnType<typeof declareCreate<T, M>>;
  readonly #update: IdempotentMethod<UpdateBody, M>;
  readonly #remove: IdempotentMethod<RemovalBody, void>;

  constructor(resource: SimpleResource<T, M>, idempotency: Idempotency, clock: Clock) {
    this.#resource = resource;
    this.#clock = clock;
    this.#create = declareCreate(resource, idempotency);
    const { entity, contract, kind, removed, notRemoved, written } = resource;
    this.#update = updating<T, M, UpdateBody>(idempotency, {
      name: `/${contract}/Update${kind}`,
      entity,
      change: (stored, body) => this.#changed(stored, body),
      refused: (error, { message }) => asNameTaken(error, this.#decode(message).header?.displayName ?? ''),
      ...(written !== undefined && { written }),
    });
    this.#remove = removing<T, RemovalBody>(idempotency, {
      name: `/${contract}/Delete${kind}`,
      entity,
      check: (stored, body) => this.#checkRemovable(stored, body),
      ...(notRemoved !== undefined && { notRemoved }),
      ...(removed !== undefined && { removed }),
    });
  }

  create(message: M | undefined, call: Call): Promise<M> {
    const { codec, build } = this.#resource;
    if (message === undefined) throw fieldInvalid('resource', 'is required', true);
    return this.#create(call, codec.encode(message).finish(), async () => {
      const input = requireHeader(message);
      checkHeader(input);
      const entityUid = newUid();
      const record = await build(message, newHeader(entityUid, input, this.#clock));
      return { entityUid, body: record as unknown as Json };
    });
  }

  async get(name: string): Promise<M> {
    return this.#resource.entity.message(await this.find(name));
  }

  /** The record by its resource name. Throws `NotFound`, `Invalid`. */
  async find(name: string, field = 'name'): Promise<Stored<T>> {
    const { entity } = this.#resource;
    const { collection } = entity.definition;
    const uid = parseResourceName(collection, name, field);
    const stored = await entity.get(uid);
    if (stored === undefined) throw notFound(collection, uid);
    return stored;
  }

  async list(request: ListRequest): Promise<{ messages: M[]; nextPageToken: string }> {
    const { entity, fields } = this.#resource;
    const { indexes } = entity.definition.store;
    const { items, nextPageToken } = await listPage(entity, request, { indexes, fields });
    return { messages: items.map((stored) => entity.message(stored)), nextPageToken };
  }

  update(message: M | undefined, mask: readonly string[] | undefined, call: Call): Promise<M> {
    if (message === undefined) throw fieldInvalid('resource', 'is required', true);
    const bytes = this.#resource.codec.encode(message).finish();
    const body = { message: Buffer.from(bytes).toString('base64'), mask: mask ?? null };
    return this.#update(call, Buffer.from(JSON.stringify(body)), async () => {
      const current = await this.find(requireHeader(message).name, 'header.name');
      this.#changed(current, body);
      return { entityUid: current.id, body };
    });
  }

  /** Throws `Conflict` ETAG_MISMATCH, `Invalid`. */
  #changed(current: Stored<T>, { message: sent, mask }: UpdateBody): T {
    const { entity, changeable, change } = this.#resource;
    const message = this.#decode(sent);
    checkEtag(requireHeader(message).etag, current.id, current.eventSeq);
    const patched = applyUpdateMask(entity.message(current), message, mask ?? undefined, changeable);
    const header = requireHeader(patched);
    checkHeader(header);
    const { displayName, labels, annotations } = header;
    const named = { ...current.value.header, displayName, labels, annotations };
    return { ...change(current.value, patched), header: touched(named, this.#clock) };
  }

  #decode(message: string): M {
    return this.#resource.codec.decode(Buffer.from(message, 'base64'));
  }

  async remove(name: string, etag: string, call: Call): Promise<void> {
    const body = { name, etag };
    await this.#remove(call, Buffer.from(JSON.stringify(body)), async () => {
      const current = await this.find(name);
      checkEtag(etag, current.id, current.eventSeq);
      return { entityUid: current.id, body };
    });
  }

  async #checkRemovable({ id, eventSeq }: Stored<T>, { name, etag }: RemovalBody): Promise<void> {
    checkEtag(etag, id, eventSeq);
    const user = await this.#resource.usedBy(id);
    if (user === undefined) return;
    const description = `${name} is still used by ${user}`;
    throw new Precondition('RESOURCE_IN_USE', description, {
      preconditions: [{ type: 'RESOURCE_IN_USE', subject: name, description }],
    });
  }
}

function declareCreate<T extends HasHeader, M extends Message>(
  resource: SimpleResource<T, M>,
  all: Idempotency,
) {
  const { entity, contract, kind, inserted, written } = resource;
  const answer = async ({ entityUid }: RequestRecord): Promise<M> => {
    const stored = await entity.get(entityUid);
    if (stored === undefined) throw notFound(entity.definition.collection, entityUid);
    return entity.message(stored);
  };
  return all.method<Json, M>({
    name: `/${contract}/Create${kind}`,
    async carryOut({ entityUid, body }) {
      const record = body as unknown as T;
      const insert = entity.insert(entityUid, record, { fresh: true });
      const stored = await insert.catch(async (error: unknown) => {
        const there = await entity.get(entityUid);
        if (there !== undefined) return there;
        throw removedSince(error)
          ? goneSince(entity.definition.collection, entityUid)
          : asNameTaken(error, record.header.displayName);
      });
      await inserted?.(stored);
      await written?.(stored);
      return entity.message(stored);
    },
    answer: (record) => answer(record),
  });
}

function requireHeader({ header }: Message): ResourceHeader {
  if (header === undefined) throw fieldInvalid('header', 'is required', true);
  return header;
}

/** It was made by this request before, and deleted since: a repeat must not bring it back. */
function removedSince(error: unknown): boolean {
  return error instanceof AlreadyExists && error.details.metadata?.['index'] === 'id';
}

function asNameTaken(error: unknown, displayName: string): unknown {
  if (!(error instanceof AlreadyExists) || error.details.metadata?.['index'] !== 'display_name') return error;
  const description = `the display name ${JSON.stringify(displayName)} is taken in this zone: choose another`;
  return new AlreadyExists('DISPLAY_NAME_TAKEN', description, { metadata: { display_name: displayName } });
}
