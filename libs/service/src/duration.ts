/** google.protobuf.Duration and milliseconds. Pure. */
import type { Duration } from '@nephos/proto/google/protobuf/duration';

export function durationOf(ms: number): Duration {
  return { seconds: BigInt(Math.floor(ms / 1000)), nanos: Math.round((ms % 1000) * 1e6) };
}

export function durationMs({ seconds, nanos }: Duration): number {
  return Number(seconds) * 1000 + nanos / 1e6;
}
