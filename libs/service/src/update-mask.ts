/**
 * Update masks (AIP-134, AIP-161): paths as the proto names them (`header.display_name`), applied to messages as
 * ts-proto names their fields (`header.displayName`). Pure; what is not listed as changeable is refused by name.
 */
import { Invalid } from './errors.ts';

function camelCase(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

type Fields = { readonly [name: string]: unknown };

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

function read(message: unknown, path: readonly string[]): unknown {
  let value = message;
  for (const name of path) value = isFields(value) ? value[name] : undefined;
  return value;
}

function write(message: unknown, [name, ...rest]: readonly string[], value: unknown): unknown {
  if (name === undefined) return value;
  const fields = isFields(message) ? message : {};
  return { ...fields, [name]: write(fields[name], rest, value) };
}

/** Proto3's defaults count as "not populated". */
function isPopulated(value: unknown): boolean {
  if (value === undefined || value === '' || value === 0 || value === 0n || value === false) return false;
  if (Array.isArray(value)) return value.length > 0;
  return !isFields(value) || value instanceof Uint8Array || Object.keys(value).length > 0;
}

/**
 * The paths that an update changes: those named; without a mask those that the patch populates. Throws Invalid
 * UPDATE_MASK_INVALID for a path that is not allowed, and for `*`: it would clear what the sender's contract, maybe
 * older than ours, does not know (docs/decisions/017).
 */
export function updatePaths(
  mask: readonly string[] | undefined,
  allowed: readonly string[],
  patch: object,
): string[] {
  const named = mask ?? [];
  if (named.length === 0) {
    return allowed.filter((path) => isPopulated(read(patch, path.split('.').map(camelCase))));
  }
  const wrong = named.filter((path) => !allowed.includes(path));
  if (wrong.length > 0) {
    const can = `can be changed: ${allowed.join(', ')}`;
    throw new Invalid('UPDATE_MASK_INVALID', `update_mask names ${wrong.slice(0, 5).join(', ')}; ${can}`, {
      fields: wrong.map((path) => ({
        field: 'update_mask',
        description: `${path} is unknown or fixed; ${can}`,
      })),
    });
  }
  return [...new Set(named)];
}

/** `current` with the fields that the mask names taken from `patch`. Neither is changed. */
export function applyUpdateMask<T extends object>(
  current: T,
  patch: T,
  mask: readonly string[] | undefined,
  allowed: readonly string[],
): T {
  let result: unknown = current;
  for (const path of updatePaths(mask, allowed, patch)) {
    const names = path.split('.').map(camelCase);
    result = write(result, names, read(patch, names));
  }
  return result as T;
}
