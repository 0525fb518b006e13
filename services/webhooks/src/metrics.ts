/** What the bridge counts for OpenTelemetry. */
import { metrics } from '@opentelemetry/api';
import { type AttemptRecord, succeeded } from './domain/webhook.ts';

/** Counts attempts by how they ended, and how long they took. */
export function attemptMeter(): (attempt: AttemptRecord) => void {
  const meter = metrics.getMeter('@nephos/webhooks-service');
  const attempts = meter.createCounter('nephos.webhooks.attempts', {
    description: 'Attempts to deliver an event',
  });
  const duration = meter.createHistogram('nephos.webhooks.attempt.duration', {
    unit: 'ms',
    description: 'How long an attempt took',
  });
  return (attempt) => {
    const outcome = succeeded(attempt) ? 'delivered' : attempt.status === 0 ? 'no answer' : 'refused';
    attempts.add(1, { outcome });
    duration.record(attempt.durationMs, { outcome });
  };
}
