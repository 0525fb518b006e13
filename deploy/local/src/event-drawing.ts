/**
 * Shows entity changes as the broker delivers them: the same events that any subscriber gets, by the same library.
 * Resolves once the present state is known, so that no later change is missed.
 */

import type { Platform } from '@nephos/client';
import { type EntityEvent, follow, type JsonObject } from '@nephos/events';
import type { Screen } from './screen.ts';

const patienceMs = 10_000;
const mostPaths = 3;
/** They change with each write and say nothing by themselves. */
const dull = new Set(['header.etag', 'header.updateTime']);

/** True once the subscription stands; false when the broker did not answer in time (it goes on trying). */
export async function showEvents(platform: Platform, screen: Screen, signal: AbortSignal): Promise<boolean> {
  const bus = await platform.bus();
  const standing = Promise.withResolvers<boolean>();
  void (async () => {
    for await (const item of follow(bus, { signal })) {
      if (item.kind === 'synced') standing.resolve(true);
      if (item.kind === 'change')
        screen.line(`     ${screen.paint('cyan', 'event')} ${describe(item.event)}`);
    }
    standing.resolve(false);
  })();
  using _timer = platform.clock.timer(patienceMs, () => standing.resolve(false));
  return standing.promise;
}

/** `vm hello #3 updated: status.state STATE_PENDING → STATE_STARTING`. */
export function describe({ entity, verb, uid, sequence, changedPaths, old, new: now }: EntityEvent): string {
  const header = (now ?? old)?.['header'] as JsonObject | undefined;
  const name = header?.['displayName'] ?? uid;
  const paths = changedPaths.filter((path) => !dull.has(path));
  const shown = verb === 'created' ? [] : paths.slice(0, mostPaths).map((path) => change(path, old, now));
  const more = verb !== 'created' && paths.length > mostPaths ? [`and ${paths.length - mostPaths} more`] : [];
  const what = [...shown, ...more].join(', ');
  return `${entity} ${String(name)} #${sequence} ${verb}${what === '' ? '' : `: ${what}`}`;
}

function change(path: string, old: JsonObject | undefined, now: JsonObject | undefined): string {
  return `${path} ${short(at(old, path))} → ${short(at(now, path))}`;
}

function at(value: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((inner, key) => (inner as JsonObject | undefined)?.[key], value);
}

function short(value: unknown): string {
  if (value === undefined || value === '') return '–';
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  // A resource's name or uid is told apart by its end.
  const brief = text.replace(
    /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}([0-9a-f]{8})/g,
    '…$1',
  );
  return brief.length > 40 ? `${brief.slice(0, 39)}…` : brief;
}
