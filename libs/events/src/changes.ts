/**
 * What differs between two messages in proto JSON. Pure.
 * Objects are compared field by field, anything else as a whole, so a list that differs is one path. A key that
 * is no plain identifier (labels may hold dots) stands between backticks (AIP-161), a backtick in it doubled.
 */
import type { Json } from '@nephos/store';

/** A message in proto JSON. */
export type JsonObject = { readonly [key: string]: Json | undefined };

/** Paths of the fields that differ, sorted, e.g. `status.state`. A field left out equals one set to undefined. */
export function changedPaths(before: JsonObject | undefined, after: JsonObject | undefined): string[] {
  const paths: string[] = [];
  compare(before ?? {}, after ?? {}, '', paths);
  return paths.sort();
}

function compare(before: JsonObject, after: JsonObject, prefix: string, paths: string[]): void {
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
  for (const key of keys) {
    const left = own(before, key);
    const right = own(after, key);
    if (left === right) continue;
    const path = prefix + pathSegment(key);
    if (isObject(left) && isObject(right)) compare(left, right, `${path}.`, paths);
    else if (!sameJson(left, right)) paths.push(path);
  }
}

/** Deep equality of JSON values, whatever the order of keys. */
export function sameJson(left: Json | undefined, right: Json | undefined): boolean {
  if (left === right) return true;
  if (Array.isArray(left) && Array.isArray(right)) {
    return left.length === right.length && left.every((each, at) => sameJson(each, right[at] as Json));
  }
  if (!isObject(left) || !isObject(right)) return false;
  const keys = new Set([...Object.keys(left), ...Object.keys(right)]);
  for (const key of keys) if (!sameJson(own(left, key), own(right, key))) return false;
  return true;
}

function own(object: JsonObject, key: string): Json | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function pathSegment(key: string): string {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(key) ? key : `\`${key.replaceAll('`', '``')}\``;
}
