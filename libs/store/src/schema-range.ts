// Which stored schema versions a program of version `own` reads and writes: its own, one back, one forward.
// Owner: libs/store. Apart from schema.ts because the worker thread needs nothing else of it.

export function isNear(stored: number, own: number): boolean {
  return Math.abs(stored - own) <= 1;
}
