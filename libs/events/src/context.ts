/** What the parts of this library need of a service; its ServiceContext fits, and so does a literal in a test. */
import type { Clock } from '@nephos/service';

/** What is logged; pino's logger fits. */
export interface EventsLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface EventsContext {
  /** The service's name: the connection's name at the broker. */
  readonly name: string;
  readonly clock: Clock;
  readonly log: EventsLog;
  /** What is opened is disposed with it. Without it, the caller disposes. */
  readonly resources?: Pick<AsyncDisposableStack, 'use'>;
}
