/** The broker for the length of a call: that it is away is UNAVAILABLE to the caller, who may try again. */
import {
  ClosedConnectionError,
  ConnectionError,
  DrainingConnectionError,
  NoRespondersError,
  RequestError,
  TimeoutError,
} from '@nats-io/nats-core';
import type { Bus, Session } from '@nephos/events';
import { Unavailable } from '@nephos/service';

/** A connection that is lost is often back within this long. */
const patienceMs = 2_000;

const away = [
  ClosedConnectionError,
  ConnectionError,
  DrainingConnectionError,
  NoRespondersError,
  RequestError,
  TimeoutError,
];

/** The session there is, or soon is. Throws `Unavailable`. */
export async function sessionOf(bus: Bus, signal: AbortSignal): Promise<Session> {
  const waited = new AbortController();
  using _timer = bus.clock.timer(patienceMs, () => waited.abort());
  try {
    return await bus.ready(AbortSignal.any([signal, waited.signal]));
  } catch (error) {
    throw waited.signal.aborted ? brokerAway(error) : error;
  }
}

/** Runs `work` in the session; what the broker's absence does to it is thrown as `Unavailable`. */
export async function withSession<T>(
  bus: Bus,
  signal: AbortSignal,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  const session = await sessionOf(bus, signal);
  try {
    return await work(session);
  } catch (error) {
    throw isAway(session, error) ? brokerAway(error) : error;
  }
}

export function isAway(session: Session, error: unknown): boolean {
  return session.signal.aborted || away.some((kind) => error instanceof kind);
}

export function brokerAway(cause: unknown): Unavailable {
  return new Unavailable('SERVICE_UNAVAILABLE', 'the broker is out of reach', { cause });
}
