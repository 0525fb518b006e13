/** When a delivery is tried again: one second later, then four times as long each time, up to an hour. Pure. */

const firstMs = 1000;
const longestMs = 60 * 60_000;
/** Deliveries that failed together are not all tried again together. */
const spread = 0.2;

export interface RetryFacts {
  /** Attempts made. */
  readonly attempts: number;
  /** What the endpoint asked for with `Retry-After`, milliseconds. */
  readonly retryAfterMs?: number | undefined;
  /** 0 to 1. */
  readonly random: number;
}

/** How long to wait, milliseconds. An endpoint that asks for more than an hour is asked after an hour all the same. */
export function pauseMs({ attempts, retryAfterMs = 0, random }: RetryFacts): number {
  const planned = Math.min(longestMs, firstMs * 4 ** Math.min(attempts - 1, 10));
  const spreadOut = planned * (1 + spread * random);
  return Math.round(Math.min(longestMs * (1 + spread), Math.max(spreadOut, retryAfterMs)));
}

/** `Retry-After` (RFC 9110, section 10.2.3): seconds or a date. Undefined where it is neither. */
export function retryAfter(header: string | undefined, now: Date): number | undefined {
  if (header === undefined) return undefined;
  if (/^\d{1,9}$/.test(header)) return Number(header) * 1000;
  const at = Date.parse(header);
  return Number.isNaN(at) ? undefined : Math.max(0, at - now.getTime());
}
