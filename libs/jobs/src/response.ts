/**
 * A job's result as an operation's response (AIP-151: the declared message, packed in an Any). A result that says
 * with `@type` which message it is, in the JSON form that Any has in proto3, is packed as that message by its
 * descriptor, so job control needs to know no service's messages. Any other result is a Struct, a Value or Empty.
 */
import { readFileSync } from 'node:fs';
import {
  createFileRegistry,
  fromBinary,
  fromJson,
  type JsonValue,
  type Registry,
  toBinary,
} from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { descriptorsPath } from '@nephos/proto/descriptors';
import type { Any } from '@nephos/proto/google/protobuf/any';
import { Empty } from '@nephos/proto/google/protobuf/empty';
import { Struct, Value } from '@nephos/proto/google/protobuf/struct';

const urlPrefix = 'type.googleapis.com/';

interface Codec<T> {
  readonly $type: string;
  encode(message: T): { finish(): Uint8Array };
}

export function pack<T>(type: Codec<T>, message: T): Any {
  return { typeUrl: urlPrefix + type.$type, value: Buffer.from(type.encode(message).finish()) };
}

/** `result` is JSON data, or undefined for none. */
export function responseOf(result: unknown): Any {
  if (result === undefined || result === null) return pack(Empty, {});
  if (typeof result !== 'object' || Array.isArray(result)) return pack(Value, Value.wrap(result));
  return packNamed({ ...result }) ?? pack(Struct, Struct.wrap({ ...result }));
}

/** Undefined for a result that names no message, or one of a service newer than these descriptors. */
function packNamed({ '@type': typeUrl, ...fields }: { [name: string]: unknown }): Any | undefined {
  if (typeof typeUrl !== 'string' || !typeUrl.startsWith(urlPrefix)) return undefined;
  const schema = registry().getMessage(typeUrl.slice(urlPrefix.length));
  if (schema === undefined) return undefined;
  const message = fromJson(schema, fields as JsonValue, { ignoreUnknownFields: true });
  return { typeUrl, value: Buffer.from(toBinary(schema, message)) };
}

let known: Registry | undefined;

function registry(): Registry {
  known ??= createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(descriptorsPath)));
  return known;
}
