/**
 * Takes fields marked `(nephos.common.v1.sensitive)` out of messages in proto JSON.
 * Which fields those are is read from the compiled descriptors, once a process. What hides inside a
 * google.protobuf.Any is not seen: resources must not carry secrets there.
 */
import { readFileSync } from 'node:fs';
import {
  createFileRegistry,
  type DescField,
  type DescMessage,
  type FileRegistry,
  fromBinary,
  getOption,
  hasOption,
} from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { descriptorsPath } from '@nephos/proto/descriptors';
import { Internal } from '@nephos/service';
import type { Json } from '@nephos/store';
import type { JsonObject } from './changes.ts';

const sensitiveOption = 'nephos.common.v1.sensitive';

/** Returns the message without its sensitive fields; the same object when it can have none. */
export type Redactor = (message: JsonObject) => JsonObject;

/** What to do with a field's value: leave it out, or redact the message (each value of a map) in it. */
type Rule = 'omit' | { readonly plan: Plan; readonly isMap: boolean };

/** The rules of a message's fields by name. Fields without one stay as they are. */
type Plan = Map<string, Rule>;

let ours: FileRegistry | undefined;

/**
 * The redactor of one message type. `descriptors` is a binary FileDescriptorSet; default: that of our contracts.
 * Throws `Internal` when it does not know the type, since then nobody knows what is secret in it.
 */
export function redactorOf(messageType: string, descriptors?: Uint8Array): Redactor {
  const registry = descriptors
    ? readRegistry(descriptors)
    : (ours ??= readRegistry(readFileSync(descriptorsPath)));
  const message = registry.getMessage(messageType);
  const option = registry.getExtension(sensitiveOption);
  if (!message || !option) {
    throw new Internal('INTERNAL', `no descriptor of ${messageType}: its sensitive fields are not known`);
  }
  const isSensitive = (field: DescField): boolean =>
    hasOption(field, option) && getOption(field, option) === true;
  const plan = planOf(message, isSensitive, new Map());
  prune(plan, new Set());
  return plan.size === 0 ? (same) => same : (whole) => redact(whole, plan);
}

function readRegistry(bytes: Uint8Array): FileRegistry {
  return createFileRegistry(fromBinary(FileDescriptorSetSchema, bytes));
}

/** Types may contain themselves, so plans refer to each other; `known` ends the recursion. */
function planOf(
  message: DescMessage,
  isSensitive: (field: DescField) => boolean,
  known: Map<string, Plan>,
): Plan {
  const existing = known.get(message.typeName);
  if (existing) return existing;
  const plan: Plan = new Map();
  known.set(message.typeName, plan);
  for (const field of message.fields) {
    const rule: Rule | undefined = isSensitive(field)
      ? 'omit'
      : field.message && {
          plan: planOf(field.message, isSensitive, known),
          isMap: field.fieldKind === 'map',
        };
    if (!rule) continue;
    for (const name of [field.jsonName, field.localName, field.name]) plan.set(name, rule);
  }
  return plan;
}

/** Forgets the rules that can omit nothing, so that most messages pass untouched. */
function prune(plan: Plan, visited: Set<Plan>): void {
  if (visited.has(plan)) return;
  visited.add(plan);
  for (const [name, rule] of plan) {
    if (rule === 'omit') continue;
    if (omitsNothing(rule.plan, new Set())) plan.delete(name);
    else prune(rule.plan, visited);
  }
}

function omitsNothing(plan: Plan, visited: Set<Plan>): boolean {
  if (visited.has(plan)) return true;
  visited.add(plan);
  return [...plan.values()].every((rule) => rule !== 'omit' && omitsNothing(rule.plan, visited));
}

function redact(message: JsonObject, plan: Plan): JsonObject {
  const kept: Record<string, Json | undefined> = {};
  for (const [key, value] of Object.entries(message)) {
    const rule = plan.get(key);
    if (rule === 'omit') continue;
    kept[key] = rule && value !== undefined ? redactWithin(value, rule.plan, rule.isMap) : value;
  }
  return kept;
}

function redactWithin(value: Json, plan: Plan, isMap: boolean): Json {
  if (Array.isArray(value)) return value.map((each: Json) => redactWithin(each, plan, false));
  if (typeof value !== 'object' || value === null) return value;
  const message = value as JsonObject;
  if (!isMap) return redact(message, plan);
  const entries = Object.entries(message).filter((entry): entry is [string, Json] => entry[1] !== undefined);
  return Object.fromEntries(entries.map(([key, each]) => [key, redactWithin(each, plan, false)]));
}
