// Dotted paths into JSON values. Owner: libs/store. Pure, and free of imports that the worker thread has no use for.
import type { Json } from './collection.ts';

/** Paths that were split; nearly all are those of indexes, of which there are few. */
const known = new Map<string, readonly string[]>();
const mostKnown = 1000;

function namesIn(path: string): readonly string[] {
  const names = known.get(path) ?? path.split('.');
  if (known.size < mostKnown) known.set(path, names);
  return names;
}

/** What lies at the path; `undefined` when missing. Paths lead through objects only, never into lists. */
export function valueAt(value: Json, path: string): Json | undefined {
  let current: Json | undefined = value;
  for (const name of namesIn(path)) {
    if (typeof current !== 'object' || current === null || Array.isArray(current)) return undefined;
    if (!Object.hasOwn(current, name)) return undefined;
    current = (current as { readonly [key: string]: Json | undefined })[name];
  }
  return current;
}
