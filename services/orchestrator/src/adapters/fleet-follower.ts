/**
 * Keeps an instance's picture of the hosts up with what the other instances write. Owner: each orchestrator its own.
 * Hints come as events of hosts, for whoever claims of a host also changes its record; each makes the host and its
 * ledger be read from the store, many at once. Without the broker the picture follows by the resync alone. A crash
 * loses nothing.
 */
import type { FollowItem } from '@nephos/events';
import type { Clock, Logger } from '@nephos/service';
import type { Fleet } from './fleet.ts';

/** Hints within this are one reading, milliseconds. */
const settleMs = 50;
const mostAtOnce = 500;

export interface FleetFollowerOptions {
  readonly fleet: Pick<Fleet, 'refresh' | 'resync'>;
  /** What is followed: events of hosts. */
  readonly events: AsyncIterable<FollowItem>;
  /** Called when hosts came or went. */
  readonly membershipChanged: () => void;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Ends with the events. */
export async function followFleet(options: FleetFollowerOptions): Promise<void> {
  const { clock, events, fleet, membershipChanged } = options;
  const dirty = new Set<string>();
  let [settling, reading]: [Disposable | undefined, Promise<void>] = [undefined, Promise.resolve()];
  const readDirty = async (): Promise<void> => {
    while (dirty.size > 0) {
      const hostUids = [...dirty].slice(0, mostAtOnce);
      for (const hostUid of hostUids) dirty.delete(hostUid);
      if (await fleet.refresh(hostUids)) membershipChanged();
    }
  };
  const read = (): void => {
    settling = undefined;
    reading = reading.then(readDirty).catch((error: unknown) => {
      options.log.warn({ err: error }, 'hosts could not be read anew; the next resync brings them');
    });
  };
  try {
    for await (const item of events) {
      if (item.kind === 'change') {
        dirty.add(item.event.uid);
        settling ??= clock.timer(settleMs, read);
      } else if (item.kind === 'synced') {
        // What was written before this came is in the store by now.
        await fleet.resync();
        membershipChanged();
      }
    }
  } finally {
    settling?.[Symbol.dispose]();
    await reading;
  }
}
