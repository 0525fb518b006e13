// Dotted paths into JSON values. Owner: libs/store. Pure, and free of imports that the worker thread has no use for.
import type { Json } from './collection.ts';

/** What lies at the path; `undefined` when missing. Paths lead through objects only, never into lists. */
export function valueAt(value: Json, path: string): Json | undefined {
  let current: Json | undefined = value;
  for (const name of path.split('.')) {
    if (typeof current !== 'object' || current === null || Array.isArray(current)) return undefined;
    if (!Object.hasOwn(current, name)) return undefined;
    current = (current as { readonly [key: string]: Json | undefined })[name];
  }
  return current;
}
