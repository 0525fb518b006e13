// Writes as they travel to the worker thread: arrays, since the names of an object's fields are copied with each.
// Owner: the SQLite adapter; pure. Half of what sending a write costs is saved.
import type { EventText, Guard, Indexed, Operation } from './protocol.ts';

type At = string | undefined;
type Payload = string | undefined;

export type PackedWrite =
  | readonly ['insert', string, string, number, At, Payload, fresh: boolean, value: string, ...Indexed[]]
  | readonly ['update', string, string, number, At, Payload, Guard, value: string, ...Indexed[]]
  | readonly ['remove', string, string, number, At, Payload, Guard, removedAt: number];

export function packed(operation: Operation): Operation | PackedWrite {
  switch (operation.op) {
    case 'insert': {
      const { op, collection, id, schema, event, fresh, value, indexed } = operation;
      return [op, collection, id, schema, event?.at, event?.payload, fresh, value, ...indexed];
    }
    case 'update': {
      const { op, collection, id, schema, event, guard, value, indexed } = operation;
      return [op, collection, id, schema, event?.at, event?.payload, guard, value, ...indexed];
    }
    case 'remove': {
      const { op, collection, id, schema, event, guard, removedAt } = operation;
      return [op, collection, id, schema, event?.at, event?.payload, guard, removedAt];
    }
    default:
      return operation;
  }
}

export function unpacked(sent: Operation | PackedWrite): Operation {
  if ('op' in sent) return sent;
  const [, collection, id, schema, at, payload] = sent;
  const event: EventText | undefined =
    at === undefined || payload === undefined ? undefined : { at, payload };
  switch (sent[0]) {
    case 'insert': {
      const [op, , , , , , fresh, value, ...indexed] = sent;
      return { op, collection, id, schema, event, fresh, value, indexed };
    }
    case 'update': {
      const [op, , , , , , guard, value, ...indexed] = sent;
      return { op, collection, id, schema, event, guard, value, indexed };
    }
    case 'remove': {
      const [op, , , , , , guard, removedAt] = sent;
      return { op, collection, id, schema, event, guard, removedAt };
    }
  }
}
