/**
 * Logs: one JSON line an event, through pino. Each line made while work is under way carries whose it is: request
 * id, job id, trace and span. The values of secrets never leave: they are struck out of the finished line, so
 * it does not matter how they came into it. Not buffered: a process that dies has said all it had to say.
 */
import { destination, type Logger, pino } from 'pino';
import { currentOrigin, currentTrace } from './context.ts';
import { activeSpan } from './metadata.ts';

export type { Logger } from 'pino';

export interface LogOptions {
  readonly service: string;
  readonly version: string;
  readonly instanceId: string;
  readonly level: string;
  readonly to: 'stdout' | 'stderr' | LineSink;
  /** Texts that must not appear. */
  readonly secrets?: readonly string[];
}

export interface LineSink {
  write(line: string): void;
}

const struckOut = '[secret]';

/** Strikes the secrets out of each line, also in the form that JSON gives them. */
function redacting(sink: LineSink, secrets: readonly string[]): LineSink {
  const forms = secrets.flatMap((secret) => [
    secret,
    JSON.stringify(secret).slice(1, -1),
    encodeURIComponent(secret),
  ]);
  const texts = [...new Set(forms)].filter((text) => text !== '').sort((a, b) => b.length - a.length);
  if (texts.length === 0) return sink;
  return {
    write(line) {
      let clean = line;
      for (const text of texts) if (clean.includes(text)) clean = clean.replaceAll(text, struckOut);
      sink.write(clean);
    },
  };
}

/** What each line says of the work it was logged in. */
function originFields(): Record<string, string> {
  const fields: Record<string, string> = {};
  const { requestId, jobId } = currentOrigin();
  if (requestId !== undefined) fields['request_id'] = requestId;
  if (jobId !== undefined) fields['job_id'] = jobId;
  const span = activeSpan(currentTrace());
  if (span !== undefined) {
    fields['trace_id'] = span.traceId;
    fields['span_id'] = span.spanId;
  }
  return fields;
}

export function createLog({ service, version, instanceId, level, to, secrets = [] }: LogOptions): Logger {
  const sink = typeof to === 'string' ? destination({ dest: to === 'stdout' ? 1 : 2, sync: true }) : to;
  return pino(
    {
      level,
      base: { service, version, instance: instanceId, pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      // An Error has no fields of its own: without these a line would say `{}` of it.
      serializers: { err: pino.stdSerializers.err, error: pino.stdSerializers.err },
      mixin: originFields,
    },
    redacting(sink, secrets),
  );
}
