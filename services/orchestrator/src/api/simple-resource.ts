/**
 * The standard methods (AIP-131 to 135) of a resource that is only a record: nothing runs behind it. Each kind
 * says what makes it and what may change; idempotency, names, etags, masks, filters and pages are the same for all.
 */
import type { EntityCollection } from '@nephos/events';
import type { Idempotency, RequestRecord } from '@nephos/idempotency';
import type { ResourceHeader } from '@nephos/proto/nephos/common/v1/resource';
import {
  AlreadyExists,
  applyUpdateMask,
  type Call,
  type Clock,
  Conflict,
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

interface HasHeader {
  readonly header: HeaderRecord;
}

export interface SimpleResource<T extends HasHeader, M extends Message> {
  readonly entity: EntityCollection<T, M>;
  /** The create method's full name, e.g. `/nephos.orchestration.v1.ZoneService/CreateZone`. */
  readonly createMethod: string;
  readonly codec: { encode(message: M): { finish(): Uint8Array } };
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

/** How often a change is tried again when another writer (an agent's report, a projection) came between. */
const attempts = 10;

export const headerChangeable = ['header.display_name', 'header.labels', 'header.annotations'];

export class SimpleApi<T extends HasHeader, M extends Message> {
  readonly #resource: SimpleResource<T, M>;
  readonly #clock: Clock;
  readonly #create: ReturnType<typeof declareCreate<T, M>>;

  constructor(resource: SimpleResource<T, M>, idempotency: Idempotency, clock: Clock) {
    this.#resource = resource;
    this.#clock = clock;
    this.#create = declareCreate(resource, idempotency);
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

  async update(message: M | undefined, mask: readonly string[] | undefined): Promise<M> {
    const { entity, written } = this.#resource;
    if (message === undefined) throw fieldInvalid('resource', 'is required', true);
    const stored = await unlessOvertaken(() => this.#updateOnce(message, mask));
    await written?.(stored);
    return entity.message(stored);
  }

  /** Throws `Conflict` if another write came between; only an etag that was sent makes that the caller's business. */
  async #updateOnce(message: M, mask: readonly string[] | undefined): Promise<Stored<T>> {
    const { entity, changeable, change } = this.#resource;
    const sent = requireHeader(message);
    const current = await this.find(sent.name, 'header.name');
    checkEtag(sent.etag, current.id, current.eventSeq);
    const patched = applyUpdateMask(entity.message(current), message, mask, changeable);
    const header = requireHeader(patched);
    checkHeader(header);
    const { displayName, labels, annotations } = header;
    const next = (record: T): T => ({
      ...change(record, patched),
      header: touched({ ...record.header, displayName, labels, annotations }, this.#clock),
    });
    const expected = current.revision;
    return await entity.modify(current.id, next, { expected }).catch((error: unknown) => {
      throw asNameTaken(error, displayName);
    });
  }

  async remove(name: string, etag: string): Promise<void> {
    const { removed } = this.#resource;
    const uid = await unlessOvertaken(() => this.#removeOnce(name, etag));
    await removed?.(uid);
  }

  async #removeOnce(name: string, etag: string): Promise<string> {
    const { entity, usedBy, notRemoved } = this.#resource;
    const { id, eventSeq, revision } = await this.find(name);
    checkEtag(etag, id, eventSeq);
    const user = await usedBy(id);
    if (user !== undefined) {
      const description = `${name} is still used by ${user}`;
      throw new Precondition('RESOURCE_IN_USE', description, {
        preconditions: [{ type: 'RESOURCE_IN_USE', subject: name, description }],
      });
    }
    try {
      await entity.remove(id, { expected: revision });
      return id;
    } catch (error) {
      await notRemoved?.(id);
      throw error;
    }
  }
}

async function unlessOvertaken<R>(work: () => Promise<R>): Promise<R> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      const overtaken = error instanceof Conflict && error.reason === 'REVISION_MISMATCH';
      if (!overtaken || attempt === attempts) throw error;
    }
  }
}

function declareCreate<T extends HasHeader, M extends Message>(
  resource: SimpleResource<T, M>,
  all: Idempotency,
) {
  const { entity, createMethod, inserted, written } = resource;
  const answer = async ({ entityUid }: RequestRecord): Promise<M> => {
    const stored = await entity.get(entityUid);
    if (stored === undefined) throw notFound(entity.definition.collection, entityUid);
    return entity.message(stored);
  };
  return all.method<Json, M>({
    name: createMethod,
    async carryOut({ entityUid, body }) {
      const record = body as unknown as T;
      const stored = await entity.insert(entityUid, record).catch(async (error: unknown) => {
        const there = await entity.get(entityUid);
        if (there !== undefined) return there;
        throw asNameTaken(error, record.header.displayName);
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

function asNameTaken(error: unknown, displayName: string): unknown {
  if (!(error instanceof AlreadyExists) || error.details.metadata?.['index'] !== 'display_name') return error;
  const description = `the display name ${JSON.stringify(displayName)} is taken in this zone: choose another`;
  return new AlreadyExists('DISPLAY_NAME_TAKEN', description, { metadata: { display_name: displayName } });
}
