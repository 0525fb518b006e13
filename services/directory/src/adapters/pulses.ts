/**
 * Signs of life that one replica tells the others, so that an instance which renews at this one does not seem
 * silent at the next. Plain messages on the bus, ten a second whatever the number of instances; a lost one costs
 * nothing that the next does not mend. Ends do not rest on them alone: before one the others are asked in the record.
 */
import type { Bus, Session } from '@nephos/events';
import { type Clock, isUid, newUid } from '@nephos/service';

const subject = 'nephos.directory.heard';
const gatherMs = 100;

interface Pulse {
  readonly replica: string;
  readonly uids: readonly string[];
  /** Of each, in the same order; older replicas do not tell them. */
  readonly beats?: readonly number[];
}

export class Pulses implements Disposable {
  readonly #replica = newUid();
  readonly #bus: Bus;
  readonly #gathered = new Map<string, number>();
  readonly #ends = new DisposableStack();

  /** `onHeard` is told of each instance that another replica heard of. */
  constructor(bus: Bus, clock: Clock, onHeard: (uid: string, beat: number) => void) {
    this.#bus = bus;
    this.#ends.use(clock.every(gatherMs, () => this.#send()));
    this.#ends.use(bus.onSession((session) => this.#listen(session, onHeard)));
  }

  /** This replica has heard of it. */
  add(uid: string, beat: number): void {
    this.#gathered.set(uid, beat);
  }

  [Symbol.dispose](): void {
    this.#ends.dispose();
  }

  #send(): void {
    const gathered = this.#gathered;
    if (gathered.size === 0) return;
    const pulse: Pulse = {
      replica: this.#replica,
      uids: [...gathered.keys()],
      beats: [...gathered.values()],
    };
    gathered.clear();
    try {
      this.#bus.session?.connection.publish(subject, JSON.stringify(pulse));
    } catch {
      // The connection has just closed: the next session's pulses tell the same.
    }
  }

  #listen({ connection, signal }: Session, onHeard: (uid: string, beat: number) => void): void {
    const subscription = connection.subscribe(subject, {
      callback: (error, message) => {
        const pulse = error === null ? parsed(message.string()) : undefined;
        if (pulse === undefined || pulse.replica === this.#replica) return;
        for (const [at, uid] of pulse.uids.entries()) if (isUid(uid)) onHeard(uid, pulse.beats?.[at] ?? 0);
      },
    });
    signal.addEventListener('abort', () => subscription.unsubscribe(), { once: true });
  }
}

function parsed(text: string): Pulse | undefined {
  try {
    const { replica, uids, beats = [] } = JSON.parse(text) as Partial<Pulse>;
    const fits = typeof replica === 'string' && Array.isArray(uids) && Array.isArray(beats);
    return fits ? { replica, uids, beats } : undefined;
  } catch {
    return undefined;
  }
}
