/**
 * Keeps one service's list up to date from a directory: opens a watch, takes what it says, opens another when it
 * ends. Invariant: whatever happens to the directory, the list stays as last known. A stream on which nothing
 * came for three of its heartbeats is given up as dead.
 */
import { type Clock, durationMs, pauseAfter } from '@nephos/service';
import { ListFollower } from './list-follower.ts';
import type { ServiceList } from './service-list.ts';
import type { DirectoryEndpoint, Log } from './types.ts';

const backoff = { firstMs: 100, maxMs: 2000 };
/** Until the directory has said its own. */
const assumedHeartbeatMs = 5000;

export interface WatcherParts {
  readonly endpoint: DirectoryEndpoint;
  readonly list: ServiceList;
  readonly clock: Clock;
  readonly log: Log;
  /** Called after each change of the list. */
  readonly onChange: () => void;
}

/** Runs until the signal aborts. */
export async function watchService(parts: WatcherParts, signal: AbortSignal): Promise<void> {
  const { clock, list, log } = parts;
  for (let failures = 0; !signal.aborted; ) {
    try {
      const heard = await followOnce(parts, signal);
      failures = heard ? 0 : failures + 1;
    } catch (error) {
      if (signal.aborted) return;
      if (failures === 0)
        log.info({ err: error, service: list.service }, 'directory watch lost; going on with the last list');
      failures += 1;
    }
    await clock.sleep(pauseAfter(Math.max(failures, 1), backoff), signal).catch(() => undefined);
  }
}

/** One stream, to its end; true when it said anything. */
async function followOnce(parts: WatcherParts, signal: AbortSignal): Promise<boolean> {
  const { endpoint, list, clock } = parts;
  const dead = new AbortController();
  let heartbeatMs = assumedHeartbeatMs;
  let heard = false;
  let silence: Disposable | undefined;
  const restartSilence = () => {
    silence?.[Symbol.dispose]();
    silence = clock.timer(3 * heartbeatMs, () => dead.abort(new Error('the directory fell silent')));
  };
  restartSilence();
  try {
    const request = { selector: { service: list.service }, changes: true };
    const follower = new ListFollower();
    for await (const { update } of endpoint.watchInstances(request, {
      signal: AbortSignal.any([signal, dead.signal]),
    })) {
      heard = true;
      if (update?.$case === 'drain') break;
      if (update?.$case === 'heartbeat' && update.value.interval)
        heartbeatMs = durationMs(update.value.interval);
      const followed = follower.take(update);
      if (followed !== undefined && list.offer(followed.instances, followed.settled)) parts.onChange();
      restartSilence();
    }
  } finally {
    (silence as Disposable | undefined)?.[Symbol.dispose]();
  }
  return heard;
}
