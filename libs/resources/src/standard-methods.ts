/**
 * The standard methods (AIP-131 to 135) of a resource that is only a record: nothing runs behind it. Each kind says
 * what makes it and what may change; names, etags, masks, filters, pages and request ids are the same for all.
 * Which of the five there are is what the contract says.
 */
import type { EntityCollection } from '@nephos/events';
import { type Idempotency, type Remembering, removing, updating } from '@nephos/idempotency';
import {
  applyUpdateMask,
  type Call,
  type Clock,
  checkEtag,
  type HeaderRecord,
  type Implementation,
  Internal,
  type MessageOf,
  type MessageType,
  newHeader,
  newUid,
  Precondition,
  type ServiceContract,
  touched,
} from '@nephos/service';
import type { Json, ListFields, ListRequest, Stored } from '@nephos/store';
import { creating, nameTaken } from './creating.ts';
import {
  type HasHeader,
  headerChangeable,
  headerFields,
  type Message,
  withCheckedHeader,
  withHeader,
} from './header.ts';
import { findResource, getResource, listResources } from './reading.ts';

type Methods<D extends ServiceContract> = D['methods'];
type RequestOf<D extends ServiceContract, N> = N extends keyof Methods<D>
  ? MessageOf<Methods<D>[N]['requestType']>
  : never;
type ResponseOf<D extends ServiceContract, N> = N extends keyof Methods<D>
  ? MessageOf<Methods<D>[N]['responseType']>
  : never;

type StandardName<K extends string> = `create${K}` | `get${K}` | `list${K}s` | `update${K}` | `delete${K}`;

/** Those of the five that the contract has and that are not the service's own. */
export type StandardMethods<D extends ServiceContract, K extends string, O = never> = Pick<
  Implementation<D>,
  Exclude<Extract<keyof Methods<D>, StandardName<K>>, O>
>;

export interface StandardParts {
  readonly idempotency: Idempotency;
  readonly clock: Clock;
}

/** A kind of resource: records of `T`, messages of `M`; `Q` and `R` are CreateX's request and response. */
interface Kind<T, M, Q, R> {
  readonly entity: EntityCollection<T, M>;
  /** What requests call it; default: the kind with a small letter, `computeOffering`. */
  readonly field?: string;
  /** What its filter may name. Put first what narrows most. Default: what every header has. */
  readonly fields?: ListFields;
  /** Paths that an update may name beside those of every header. */
  readonly changeable?: readonly string[];
  /** Checks the rest of the message and makes the record; for CreateX. Throws `Invalid`, `NotFound`. */
  readonly build?: (message: M, header: HeaderRecord, request: Q) => T | Promise<T>;
  /** Adds what is kept in the record alone; see `Creation.complete`. */
  readonly complete?: (record: T, request: Q | undefined) => T;
  /** Default: the resource. */
  readonly created?: (stored: Stored<T>) => R;
  /** Runs after the insert and again in any repeat. */
  readonly inserted?: (stored: Stored<T>) => Promise<void>;
  /** The record with what changed in the message, other than its header. Default: nothing. Throws `Invalid`. */
  readonly change?: (record: T, message: M) => T;
  /** Hears of each record written. */
  readonly written?: (stored: Stored<T>) => void | Promise<void>;
  /** What still uses it, in words; undefined: it may be deleted, and what may begin to use it is kept from that. */
  readonly usedBy?: (uid: string) => Promise<string | undefined>;
  /** Takes that back: it was not deleted after all. */
  readonly notRemoved?: (uid: string) => Promise<void>;
  readonly removed?: (uid: string) => void | Promise<void>;
}

export interface StandardResource<D extends ServiceContract, K extends string, T, O = never>
  extends Kind<T, ResponseOf<D, `get${K}`>, RequestOf<D, `create${K}`>, ResponseOf<D, `create${K}`>> {
  /** E.g. `ZoneServiceDefinition`. */
  readonly contract: D;
  /** What its methods are named after, e.g. `Zone` of CreateZone. */
  readonly kind: K;
  /** Those of the five that the service serves in a way of its own. */
  readonly own?: readonly (O & StandardName<K>)[];
}

/** The handlers of a kind of resource. Throws `Internal` where the contract has no such kind. */
export function standardMethods<
  D extends ServiceContract,
  const K extends string,
  T extends HasHeader & Remembering,
  const O extends string = never,
>(resource: StandardResource<D, K, T, O>, parts: StandardParts): StandardMethods<D, K, O> {
  const { contract, kind, own = [] } = resource;
  const all = new Handlers(contract, kind, resource as unknown as Kind<T, Message, object, unknown>, parts);
  return all.methods(own) as unknown as StandardMethods<D, K, O>;
}

type Handler = (request: never, call: Call) => Promise<unknown>;
type UpdateRequest = { readonly [field: string]: Message | undefined } & {
  readonly updateMask?: readonly string[];
};
interface DeleteRequest {
  readonly name: string;
  readonly etag: string;
}

/** A request as it was sent, base64, so that its mask is applied to what is there then. */
type UpdateBody = { readonly request: string };
type RemovalBody = { readonly name: string; readonly etag: string };

class Handlers<T extends HasHeader & Remembering> {
  readonly #contract: ServiceContract;
  readonly #kind: string;
  readonly #resource: Kind<T, Message, object, unknown>;
  readonly #parts: StandardParts;
  readonly #field: string;

  constructor(
    contract: ServiceContract,
    kind: string,
    resource: Kind<T, Message, object, unknown>,
    parts: StandardParts,
  ) {
    this.#contract = contract;
    this.#kind = kind;
    this.#resource = resource;
    this.#parts = parts;
    this.#field = resource.field ?? `${kind.charAt(0).toLowerCase()}${kind.slice(1)}`;
  }

  methods(own: readonly string[]): Record<string, Handler> {
    const { entity, fields = headerFields } = this.#resource;
    const list = async (request: ListRequest) => {
      const { messages, nextPageToken } = await listResources(entity, request, fields);
      return { [`${this.#field}s`]: messages, nextPageToken };
    };
    const declared: Record<string, () => Handler> = {
      [`get${this.#kind}`]: () => (request: { readonly name: string }) => getResource(entity, request),
      [`list${this.#kind}s`]: () => list,
      [`create${this.#kind}`]: () => this.#creating(),
      [`update${this.#kind}`]: () => this.#updating(),
      [`delete${this.#kind}`]: () => this.#deleting(),
    };
    const { fullName, methods } = this.#contract;
    const those = Object.entries(declared).filter(
      ([name]) => methods[name] !== undefined && !own.includes(name),
    );
    if (those.length === 0) throw new Internal('INTERNAL', `${fullName} has no ${this.#kind}`);
    return Object.fromEntries(those.map(([name, declare]) => [name, declare()]));
  }

  #method(verb: 'create' | 'update' | 'delete'): {
    readonly name: string;
    readonly codec: MessageType<object>;
  } {
    const method = this.#contract.methods[`${verb}${this.#kind}`];
    if (method === undefined) throw new Internal('INTERNAL', `no ${verb}${this.#kind}`);
    const name = `/${this.#contract.fullName}/${method.name}`;
    return { name, codec: method.requestType as MessageType<object> };
  }

  #creating(): Handler {
    const { entity, build, complete, created, inserted, written } = this.#resource;
    const { name, codec } = this.#method('create');
    if (build === undefined) throw new Internal('INTERNAL', `${name}: nothing says what makes the record`);
    const create = creating<T, unknown>(this.#parts.idempotency, {
      name,
      entity,
      complete: complete && ((record, sent) => complete(record, sent && codec.decode(sent))),
      inserted: async (stored) => {
        await inserted?.(stored);
        await written?.(stored);
        return stored;
      },
      answer: created ?? ((stored) => entity.message(stored)),
    });
    return (request: { readonly [field: string]: Message | undefined }, call) =>
      create(call, codec.encode(request).finish(), async () => {
        const message = withCheckedHeader(request[this.#field], this.#field);
        const entityUid = newUid();
        const record = await build(message, newHeader(entityUid, message.header, this.#parts.clock), request);
        return { entityUid, body: record as unknown as Json };
      });
  }

  #updating(): Handler {
    const { entity, written } = this.#resource;
    const { name, codec } = this.#method('update');
    const read = ({ request }: UpdateBody) => codec.decode(Buffer.from(request, 'base64')) as UpdateRequest;
    const update = updating<T, Message, UpdateBody>(this.#parts.idempotency, {
      name,
      entity,
      change: (stored, body) => this.#changed(stored, read(body)),
      refused: (error, body) => nameTaken(error, read(body)[this.#field]?.header?.displayName ?? ''),
      ...(written !== undefined && { written }),
    });
    return (request: UpdateRequest, call) => {
      const bytes = codec.encode(request).finish();
      return update(call, bytes, async () => {
        const { header } = withHeader(request[this.#field], this.#field);
        const current = await findResource(entity, header.name, `${this.#field}.header.name`);
        this.#changed(current, request);
        return { entityUid: current.id, body: { request: Buffer.from(bytes).toString('base64') } };
      });
    };
  }

  /** Throws `Conflict` ETAG_MISMATCH, `Invalid`. */
  #changed(current: Stored<T>, request: UpdateRequest): T {
    const { entity, changeable = [], change = (record) => record } = this.#resource;
    const message = withHeader(request[this.#field], this.#field);
    checkEtag(message.header.etag, current.id, current.eventSeq);
    const allowed = [...headerChangeable, ...changeable];
    const patched = applyUpdateMask(entity.message(current), message, request.updateMask, allowed);
    const { displayName, labels, annotations } = withCheckedHeader(patched, this.#field).header;
    const named = { ...current.value.header, displayName, labels, annotations };
    return { ...change(current.value, patched), header: touched(named, this.#parts.clock) };
  }

  #deleting(): Handler {
    const { entity, notRemoved, removed } = this.#resource;
    const { name, codec } = this.#method('delete');
    const remove = removing<T, RemovalBody>(this.#parts.idempotency, {
      name,
      entity,
      check: (stored, body) => this.#checkRemovable(stored, body),
      ...(notRemoved !== undefined && { notRemoved }),
      ...(removed !== undefined && { removed }),
    });
    return async (request: DeleteRequest, call) => {
      const { name, etag } = request;
      await remove(call, codec.encode(request).finish(), async () => {
        const current = await findResource(entity, name);
        checkEtag(etag, current.id, current.eventSeq);
        return { entityUid: current.id, body: { name, etag } };
      });
      return {};
    };
  }

  async #checkRemovable({ id, eventSeq }: Stored<T>, { name, etag }: RemovalBody): Promise<void> {
    checkEtag(etag, id, eventSeq);
    const user = await this.#resource.usedBy?.(id);
    if (user === undefined) return;
    const description = `${name} is still used by ${user}`;
    throw new Precondition('RESOURCE_IN_USE', description, {
      preconditions: [{ type: 'RESOURCE_IN_USE', subject: name, description }],
    });
  }
}
