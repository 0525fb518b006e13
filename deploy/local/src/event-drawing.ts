/**
 * Shows entity changes as the broker delivers them: the same events that any subscriber gets, by the same library.
 * Resolves once the present state is known, so that no later change is missed.
 */

import { eventText, type Platform } from '@nephos/client';
import { follow } from '@nephos/events';
import type { Screen } from './screen.ts';

const patienceMs = 10_000;

/** True once the subscription stands; false when the broker did not answer in time (it goes on trying). */
export async function showEvents(platform: Platform, screen: Screen, signal: AbortSignal): Promise<boolean> {
  const bus = await platform.bus();
  const standing = Promise.withResolvers<boolean>();
  void (async () => {
    for await (const item of follow(bus, { signal })) {
      if (item.kind === 'synced') standing.resolve(true);
      if (item.kind === 'change')
        screen.line(`     ${screen.paint('cyan', 'event')} ${eventText(item.event)}`);
    }
    standing.resolve(false);
  })();
  using _timer = platform.clock.timer(patienceMs, () => standing.resolve(false));
  return standing.promise;
}
