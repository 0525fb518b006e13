/**
 * Signs of life that one replica tells the others, so that an instance which renews at this one does not seem
 * silent at the next. Plain messages on the bus, ten a second whatever the number of instances; a lost one costs
 * nothing that the next does not mend. Leases do not rest on them: those are in the records.
 */
import type { Bus, Session } from '@nephos/events';
import { type Clock, isUid, newUid } from '@nephos/service';

const subject = 'nephos.directory.heard';
const gatherMs = 100;

interface Pulse {
  readonly replica: string;
  readonly uids: readonly string[];
}

export class Pulses implements Disposable {
  readonly #replica = newUid();
  readonly #bus: Bus;
  readonly #gathered = new Set<string>();
  readonly #ends = new DisposableStack();

  /** `onHeard` is told of each instance that another replica heard of. */
  constructor(bus: Bus, clock: Clock, onHeard: (uid: string) => void) {
    this.#bus = bus;
    this.#ends.use(clock.every(gatherMs, () => this.#send()));
    this.#ends.use(bus.onSession((session) => this.#listen(session, onHeard)));
  }

  /** This replica has heard of it. */
  add(uid: string): void {
    this.#gathered.add(uid);
  }

  [Symbol.dispose](): void {
    this.#ends.dispose();
  }

  #send(): void {
    if (this.#gathered.size === 0) return;
    const pulse: Pulse = { replica: this.#replica, uids: [...this.#gathered] };
    this.#gathered.clear();
    try {
      this.#bus.session?.connection.publish(subject, JSON.stringify(pulse));
    } catch {
      // The connection has just closed: the next session's pulses tell the same.
    }
  }

  #listen({ connection, signal }: Session, onHeard: (uid: string) => void): void {
    const subscription = connection.subscribe(subject, {
      callback: (error, message) => {
        const pulse = error === null ? parsed(message.string()) : undefined;
        if (pulse === undefined || pulse.replica === this.#replica) return;
        for (const uid of pulse.uids) onHeard(uid);
      },
    });
    signal.addEventListener('abort', () => subscription.unsubscribe(), { once: true });
  }
}

function parsed(text: string): Pulse | undefined {
  try {
    const { replica, uids } = JSON.parse(text) as Partial<Pulse>;
    return typeof replica === 'string' && Array.isArray(uids)
      ? { replica, uids: uids.filter(isUid) }
      : undefined;
  } catch {
    return undefined;
  }
}
