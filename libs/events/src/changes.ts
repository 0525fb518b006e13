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
  compare(before ?? nothing, after ?? nothing, [], paths);
  return isSorted(paths) ? paths : paths.sort();
}

/** As the few paths of most changes are; sorting costs several times the comparing. */
function isSorted(paths: readonly string[]): boolean {
  return paths.every((path, at) => at === 0 || (paths[at - 1] ?? '') <= path);
}

const nothing: JsonObject = Object.freeze({});

/** `within`: the keys that lead here. The texts of paths are made only for what differs. */
function compare(before: JsonObject, after: JsonObject, within: string[], paths: string[]): void {
  for (const key of Object.keys(after)) {
    const left = own(before, key);
    const right = after[key];
    if (left === right) continue;
    within.push(key);
    if (isObject(left) && isObject(right)) compare(left, right, within, paths);
    else if (!sameJson(left, right)) paths.push(pathOf(within));
    within.pop();
  }
  for (const key of Object.keys(before)) {
    if (before[key] === undefined || Object.hasOwn(after, key)) continue;
    paths.push(pathOf([...within, key]));
  }
}

/** Deep equality of JSON values, whatever the order of keys. */
export function sameJson(left: Json | undefined, right: Json | undefined): boolean {
  if (left === right) return true;
  if (Array.isArray(left) && Array.isArray(right)) {
    return left.length === right.length && left.every((each, at) => sameJson(each, right[at] as Json));
  }
  if (!isObject(left) || !isObject(right)) return false;
  for (const key of Object.keys(left)) if (!sameJson(left[key], own(right, key))) return false;
  for (const key of Object.keys(right))
    if (right[key] !== undefined && !Object.hasOwn(left, key)) return false;
  return true;
}

function own(object: JsonObject, key: string): Json | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const plain = /^[A-Za-z_][A-Za-z0-9_]*$/;

function pathOf(keys: readonly string[]): string {
  return keys.map((key) => (plain.test(key) ? key : `\`${key.replaceAll('`', '``')}\``)).join('.');
}
