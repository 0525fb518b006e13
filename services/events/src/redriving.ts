/**
 * Redrives many letters: those of one entity one after the other in the order of their events, those of others at the
 * same time, so that a handler that hangs holds up its own entity alone. Nothing is kept: what a crash leaves undone
 * is still a dead letter.
 */
import {
  type Bus,
  type KeptDeadLetter,
  type RedriveOutcome,
  redriveDeadLetter,
  type Session,
} from '@nephos/events';
import { brokerAway, isAway } from './session.ts';

/** Entities at once. */
const atOnce = 16;

export interface Redriven {
  readonly letter: KeptDeadLetter;
  readonly outcome: RedriveOutcome;
}

/** Tells what came of each as it is known. Aborting the signal leaves the rest as they are. */
export async function* redriveAll(
  bus: Bus,
  session: Session,
  letters: readonly KeptDeadLetter[],
  signal: AbortSignal,
): AsyncGenerator<Redriven> {
  const lanes = lanesOf(letters);
  const done: Redriven[] = [];
  const stopping = new AbortController();
  const ends = AbortSignal.any([signal, stopping.signal]);
  let wake = (): void => undefined;
  let failure: { readonly error: unknown } | undefined;
  const work = async (): Promise<void> => {
    for (let lane = lanes.shift(); lane && !ends.aborted; lane = lanes.shift()) {
      for (const letter of lane) {
        const outcome = await redriveDeadLetter(session, letter.letterId, { clock: bus.clock, signal: ends });
        done.push({ letter, outcome });
        wake();
      }
    }
  };
  let running = Math.min(atOnce, lanes.length);
  const workers = Array.from({ length: running }, () =>
    work()
      .catch((error: unknown) => {
        failure ??= { error };
        stopping.abort(new Error('another redrive failed'));
      })
      .finally(() => {
        running -= 1;
        wake();
      }),
  );
  try {
    while (running > 0 || done.length > 0) {
      const next = done.shift();
      if (next) yield next;
      else await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    stopping.abort(new Error('nobody listens any more'));
    await Promise.all(workers);
  }
  if (failure) throw isAway(session, failure.error) ? brokerAway(failure.error) : failure.error;
}

/** A letter that failed again lies behind later ones of its entity: its event's own sequence says where it belongs. */
function lanesOf(letters: readonly KeptDeadLetter[]): KeptDeadLetter[][] {
  const lanes = new Map<string, KeptDeadLetter[]>();
  for (const letter of letters) {
    const key = `${letter.subscription} ${letter.subject}`;
    lanes.set(key, [...(lanes.get(key) ?? []), letter]);
  }
  const sequence = ({ eventId }: KeptDeadLetter): number => Number(eventId?.split('/').at(-1) ?? 0);
  return [...lanes.values()].map((lane) =>
    lane.sort((a, b) => sequence(a) - sequence(b) || a.place - b.place),
  );
}
