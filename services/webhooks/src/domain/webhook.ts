/** A webhook and its deliveries as the service knows them. Pure. */
import type { HeaderRecord } from '@nephos/service';
import type { ContentMode } from './envelope.ts';
import type { SigningSecret } from './signature.ts';

export interface WebhookRecord {
  readonly header: HeaderRecord;
  /** May hold a token: never logged. */
  readonly url: string;
  readonly filter: WebhookFilter;
  readonly contentMode: ContentMode;
  readonly disabled: boolean;
  readonly timeoutMs: number;
  readonly giveUpAfterMs: number;
  /**
   * The place in the stream of events before which nothing is for it; absent where the broker was away when it was
   * created. Not a time: the broker's clock is another.
   */
  readonly fromPlace?: number;
  /** The newest first. */
  readonly secrets: readonly SigningSecret[];
  /** The last requests that changed it, see @nephos/idempotency. */
  readonly requests?: readonly string[];
  /** Set while no attempt goes well, or where the endpoint said that it is gone. */
  readonly failure?: { readonly since: string; readonly message: string };
}

/** Empty means any; an empty owner means the webhook's own. */
export interface WebhookFilter {
  readonly owner: string;
  /** `zones/{uid}`. */
  readonly zone: string;
  readonly entity: string;
  readonly verbs: readonly string[];
}

export type DeliveryState = 'pending' | 'delivered' | 'dead';

/** One event on its way to one webhook. */
export interface DeliveryRecord {
  /** The webhook's uid. */
  readonly webhook: string;
  readonly eventId: string;
  readonly eventType: string;
  readonly entity: string;
  /** The resource name. */
  readonly subject: string;
  /** The event's own counter: deliveries of one subject go in its order. */
  readonly sequence: number;
  /** As published, structured JSON. */
  readonly event: string;
  readonly state: DeliveryState;
  readonly attemptCount: number;
  /** The latest, oldest first. */
  readonly attempts: readonly AttemptRecord[];
  readonly createTime: string;
  /** When it is tried next; while pending. */
  readonly nextAttemptTime?: string;
  /** When it becomes a dead letter; while pending. */
  readonly giveUpTime?: string;
  /** When it was delivered or given up. */
  readonly settledTime?: string;
}

export interface AttemptRecord {
  readonly time: string;
  readonly durationMs: number;
  /** 0: no answer. */
  readonly status: number;
  /** Why there was no answer. */
  readonly error: string;
}

/** HTTP's word for "do not come again" (RFC 9110, section 15.5.11). */
export const gone = 410;

const attemptsKept = 10;

export function succeeded({ status }: AttemptRecord): boolean {
  return status >= 200 && status < 300;
}

/**
 * The delivery after an attempt; `pause` is how long it waits where it failed and is not given up. One that another
 * instance settled meanwhile stays as it is.
 */
export function attempted(delivery: DeliveryRecord, attempt: AttemptRecord, pause: number): DeliveryRecord {
  if (delivery.state !== 'pending') return delivery;
  const { nextAttemptTime: _next, giveUpTime, ...rest } = delivery;
  const ended = Date.parse(attempt.time) + attempt.durationMs;
  const next = {
    ...rest,
    attemptCount: delivery.attemptCount + 1,
    attempts: [...delivery.attempts, attempt].slice(-attemptsKept),
  };
  const settledTime = new Date(ended).toISOString();
  if (succeeded(attempt)) return { ...next, state: 'delivered', settledTime };
  const tryAt = ended + pause;
  const isLast = attempt.status === gone || giveUpTime === undefined || tryAt > Date.parse(giveUpTime);
  if (isLast) return { ...next, state: 'dead', settledTime };
  return { ...next, state: 'pending', nextAttemptTime: new Date(tryAt).toISOString(), giveUpTime };
}

/** The delivery, to be sent again from now on. */
export function again(delivery: DeliveryRecord, now: Date, giveUpAfterMs: number): DeliveryRecord {
  const { settledTime: _settled, ...rest } = delivery;
  return {
    ...rest,
    state: 'pending',
    nextAttemptTime: now.toISOString(),
    giveUpTime: new Date(now.getTime() + giveUpAfterMs).toISOString(),
  };
}

/** Text for people about an attempt that failed. */
export function failureText({ status, error }: AttemptRecord): string {
  return status === 0 ? error : `answered ${status}`;
}
