/**
 * One store for relays in several processes: the process that has it serves its outbox to its children, each of
 * which hears of a part of the writes as if they were its own. For the faults of relays only.
 */
import type { ChildProcess } from 'node:child_process';
import { AlreadyExists, Conflict, Invalid } from '@nephos/service';
import type { Collection, CollectionDefinition, CommittedEvent, Outbox, Store } from '@nephos/store';

interface Call {
  readonly id: number;
  readonly target: 'outbox' | CollectionDefinition<unknown>;
  readonly method: string;
  readonly args: readonly unknown[];
}

interface Answer {
  readonly id?: number;
  readonly result?: unknown;
  readonly failure?: string;
  readonly conflicts?: boolean;
  readonly committed?: readonly CommittedEvent[];
}

/** The parent's side, for as long as the child lives. `isTheirs`: which writes the child hears of. */
export function serveStore(store: Store, child: ChildProcess, isTheirs: (id: string) => boolean): Disposable {
  const send = (answer: Answer): void => {
    if (child.connected) child.send(answer, () => undefined);
  };
  const definitions = definitionsOf(store);
  child.on('message', (message: Partial<Call>) => {
    if (message.target === undefined) return;
    void answerTo(store, definitions, message as Call).then(send);
  });
  return store.outbox.onPending((committed) => {
    const theirs = committed.filter(({ id }) => isTheirs(id));
    if (theirs.length > 0) send({ committed: theirs });
  });
}

/** A store knows a collection by the very definition that opened it, whichever child asked first. */
const opened = new WeakMap<Store, Map<string, CollectionDefinition<unknown>>>();

function definitionsOf(store: Store): Map<string, CollectionDefinition<unknown>> {
  const known = opened.get(store) ?? new Map<string, CollectionDefinition<unknown>>();
  opened.set(store, known);
  return known;
}

async function answerTo(
  store: Store,
  definitions: Map<string, CollectionDefinition<unknown>>,
  { id, target, method, args }: Call,
): Promise<Answer> {
  try {
    const definition = target === 'outbox' ? undefined : (definitions.get(target.name) ?? target);
    if (definition) definitions.set(definition.name, definition);
    const on: object = definition ? await store.collection(definition) : store.outbox;
    const call = Reflect.get(on, method) as (...args: readonly unknown[]) => Promise<unknown>;
    return { id, result: await call.apply(on, [...args]) };
  } catch (error) {
    const conflicts = error instanceof Conflict || error instanceof AlreadyExists;
    return { id, failure: String(error), conflicts };
  }
}

/** The child's side. */
export function sharedStore(): Store {
  const waiting = new Map<number, (answer: Answer) => void>();
  const listeners = new Set<(committed: readonly CommittedEvent[]) => void>();
  let next = 0;
  process.on('message', (answer: Answer) => {
    if (answer.committed) for (const listener of listeners) listener(answer.committed);
    if (answer.id !== undefined) waiting.get(answer.id)?.(answer);
  });
  const ask = async <R>(target: Call['target'], method: string, ...args: unknown[]): Promise<R> => {
    const id = (next += 1);
    const { promise, resolve } = Promise.withResolvers<Answer>();
    waiting.set(id, resolve);
    // The parent may be gone, and then it ends this process.
    process.send?.({ id, target, method, args } satisfies Call, () => undefined);
    const { result, failure, conflicts } = await promise;
    waiting.delete(id);
    if (conflicts) throw new Conflict('REVISION_MISMATCH', failure ?? '');
    if (failure !== undefined) throw new Error(failure);
    return result as R;
  };
  const outbox: Outbox = {
    pending: (options) => ask('outbox', 'pending', options),
    clear: (...args) => ask('outbox', 'clear', ...args),
    clearAll: (cleared) => ask('outbox', 'clearAll', cleared),
    sweepTombstones: (olderThanMs) => ask('outbox', 'sweepTombstones', olderThanMs),
    onPending: (listener) => {
      listeners.add(listener);
      return { [Symbol.dispose]: () => void listeners.delete(listener) };
    },
  };
  return {
    exclusive: false,
    outbox,
    failure: new Promise(() => undefined),
    ping: () => Promise.resolve(),
    collection: async (definition) => remoteCollection(definition, ask),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** As much of a collection as a relay needs for the record of its position. */
function remoteCollection<T>(
  definition: CollectionDefinition<T>,
  ask: <R>(target: Call['target'], method: string, ...args: unknown[]) => Promise<R>,
): Collection<T> {
  const target = definition as CollectionDefinition<unknown>;
  const refuse = (): never => {
    throw new Invalid('FIELD_INVALID', 'a shared store serves relays alone');
  };
  const collection: Collection<T> = {
    name: definition.name,
    get: (id) => ask(target, 'get', id),
    insert: (id, value) => ask(target, 'insert', id, value),
    update: (id, expected, value) => ask(target, 'update', id, expected, value),
    modify: async (id, change) => {
      const current = await collection.get(id);
      const next = current && change(current);
      if (!current || !next) return current ?? refuse();
      return await collection.update(id, current.revision, next.value);
    },
    getMany: refuse,
    find: refuse,
    count: refuse,
    remove: refuse,
    batch: refuse,
  };
  return collection;
}
