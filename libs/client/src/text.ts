/** Figures and changes in the words that people read, the same in every program. Pure. */
import type { EntityEvent, JsonObject } from '@nephos/events';

/** `340 ms`, `4.2 s`, `3 min 20 s`. */
export function durationText(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 120_000) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.floor((ms % 60_000) / 1000)} s`;
}

/** `128 MiB`, `1.5 GiB`. */
export function sizeText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  return `${Number((bytes / 1024 ** power).toFixed(1))} ${units[power]}`;
}

/** `STATE_RUNNING` → `RUNNING`: proto JSON puts the enumeration's name before each value. */
export function enumText(value: string): string {
  return value.replace(/^(JOB_STATE|JOB_STEP_STATE|[A-Z]+)_(?=[A-Z])/, '');
}

const mostPaths = 3;
const longestValue = 40;
/** They change with each write and say nothing by themselves. */
const dull: ReadonlySet<string> = new Set(['header.etag', 'header.updateTime']);

/** `vm hello #4 updated: status.state STARTING → RUNNING`. */
export function eventText({ entity, verb, uid, sequence, changedPaths, old, new: now }: EntityEvent): string {
  const header = (now ?? old)?.['header'] as JsonObject | undefined;
  const name = header?.['displayName'];
  const title = `${entity} ${typeof name === 'string' ? name : uid} #${sequence} ${verb}`;
  if (old === undefined || now === undefined) return title;
  const paths = changedPaths.filter((path) => !dull.has(path));
  const changes = paths
    .slice(0, mostPaths)
    .map((path) => `${path} ${valueAt(old, path)} → ${valueAt(now, path)}`);
  const more = paths.length > mostPaths ? [`and ${paths.length - mostPaths} more`] : [];
  return changes.length === 0 ? title : `${title}: ${[...changes, ...more].join(', ')}`;
}

function valueAt(object: JsonObject, path: string): string {
  const value = path
    .split('.')
    .reduce<unknown>((inner, key) => (inner as JsonObject | undefined)?.[key], object);
  if (value === undefined || value === '') return '–';
  const text = typeof value === 'string' ? shortName(value) : JSON.stringify(value);
  return text.length > longestValue ? `${text.slice(0, longestValue - 1)}…` : text;
}

/** Uids made within one second differ at their end; enumerations are told without their prefix. */
function shortName(value: string): string {
  if (/^[A-Z]+(_[A-Z]+)+$/.test(value)) return enumText(value);
  return value.replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{4}(?=[0-9a-f]{8})/g, '…');
}
