import grpc from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';
import { ErrorInfo } from '@nephos/proto/google/rpc/error_details';
import { Status } from '@nephos/proto/google/rpc/status';
import {
  AlreadyExists,
  Cancelled,
  Conflict,
  DeadlineExceeded,
  Denied,
  Exhausted,
  fromStatus,
  Internal,
  Invalid,
  NephosError,
  NotFound,
  OutOfRange,
  Precondition,
  toStatus,
  Unauthenticated,
  Unavailable,
  Unimplemented,
} from '../src/index.ts';
import { EchoDefinition, startEcho } from './echo.ts';

const { status } = grpc;

async function failureOf(promise: Promise<unknown>): Promise<NephosError> {
  return promise.then(
    () => {
      throw new Error('the call did not fail');
    },
    (error: unknown) => {
      if (!(error instanceof NephosError)) throw error;
      return error;
    },
  );
}

/** Calls by bare grpc-js, as a stranger would. */
async function callBare(target: string, path: string, bytes: Buffer): Promise<grpc.ServiceError> {
  const client = new grpc.Client(target, grpc.credentials.createInsecure());
  try {
    return await new Promise((resolve, reject) => {
      const same = (given: Buffer): Buffer => given;
      client.makeUnaryRequest(path, same, same, bytes, (error) => {
        if (error === null) reject(new Error('the call did not fail'));
        else resolve(error);
      });
    });
  } finally {
    client.close();
  }
}

function errorInfo(error: grpc.ServiceError): ErrorInfo | undefined {
  const bytes = error.metadata.get('grpc-status-details-bin')[0];
  if (!Buffer.isBuffer(bytes)) return undefined;
  const any = Status.decode(bytes).details.find(({ typeUrl }) => typeUrl.endsWith('google.rpc.ErrorInfo'));
  return any === undefined ? undefined : ErrorInfo.decode(any.value);
}

describe('statuses', () => {
  test('every kind of error goes over the wire and comes back as itself, with all its details', async () => {
    const details = {
      metadata: { host: 'h1', why: 'memory' },
      fields: [{ field: 'vm.spec.vcpus', description: 'at most 64' }],
      preconditions: [{ type: 'STATE', subject: 'vms/1', description: 'is stopped' }],
      retryAfterMs: 1500,
    };
    const all = [
      new NotFound('RESOURCE_NOT_FOUND', 'not there', details),
      new AlreadyExists('DISPLAY_NAME_TAKEN', 'taken', details),
      new Conflict('ETAG_MISMATCH', 'changed', details),
      new Invalid('FIELD_INVALID', 'wrong', details),
      new Precondition('STATE_FORBIDS', 'not now', details),
      new Denied('PERMISSION_DENIED', 'no', details),
      new Unauthenticated('IDENTITY_UNKNOWN', 'who', details),
      new Exhausted('NO_HOST_FITS', 'full', details),
      new OutOfRange('RESYNC_REQUIRED', 'too old', details),
      new Cancelled('JOB_CANCELLED', 'cancelled', details),
      new DeadlineExceeded('JOB_TIMED_OUT', 'late', details),
      new Internal('INTERNAL', 'a fault', details),
    ];
    let next: NephosError | undefined;
    await using echo = await startEcho({
      say: async () => {
        throw next;
      },
    });
    for (const error of all) {
      next = error;
      const failure = await failureOf(echo.client.say({}, { requestId: 'r-1' }));
      expect(failure.constructor).toBe(error.constructor);
      expect(failure.reason).toBe(error.reason);
      expect(failure.message).toBe(error.message);
      expect(failure.details).toEqual({ ...details, metadata: { ...details.metadata, requestId: 'r-1' } });
    }
  });

  test('an error that nobody declared is Internal with the request id, and says nothing of itself', async () => {
    const lines: string[] = [];
    const { startService } = await import('../src/index.ts');
    const { echoService } = await import('./echo.ts');
    const say = async (): Promise<never> => {
      throw new TypeError('reading /etc/secret of undefined');
    };
    await using echo = await startEcho();
    await using service = await startService(echoService({ say }), {
      env: { NEPHOS_DRAIN_DELAY: '0ms' },
      logTo: { write: (line) => lines.push(line) },
    });
    const client = echo.caller.context.clients.of(EchoDefinition, `127.0.0.1:${service.address.port}`);
    const failure = await failureOf(client.say({}, { requestId: 'r-7' }));
    expect(failure).toBeInstanceOf(Internal);
    expect(failure.reason).toBe('INTERNAL');
    expect(failure.details.metadata).toEqual({ requestId: 'r-7' });
    expect(failure.message).not.toContain('secret');
    const logged = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    const line = logged.find(({ msg }) => msg === 'call failed');
    expect(line).toMatchObject({ request_id: 'r-7', method: '/nephos.test.v1.Echo/Say', level: 'error' });
    expect(JSON.stringify(line)).toContain('reading /etc/secret of undefined');
  });

  test('a throw of nothing and a throw before the first await are errors too', async () => {
    await using echo = await startEcho({
      say: (request) => {
        if (request.reason === 'nothing') throw undefined;
        throw new NotFound('RESOURCE_NOT_FOUND', 'at once');
      },
    });
    expect((await failureOf(echo.client.say({ reason: 'nothing' }))).reason).toBe('INTERNAL');
    expect((await failureOf(echo.client.say({ reason: 'other' }))).message).toBe('at once');
  });

  test.each([
    ['a method of a known service', '/nephos.test.v1.Echo/Nothing'],
    ['a service that nobody serves', '/nephos.test.v1.Nobody/Say'],
  ])('%s is METHOD_UNKNOWN', async (_, path) => {
    await using echo = await startEcho();
    const error = await callBare(echo.target, path, Buffer.alloc(0));
    expect(error.code).toBe(status.UNIMPLEMENTED);
    expect(errorInfo(error)).toMatchObject({ reason: 'METHOD_UNKNOWN', domain: 'nephos.dev' });
    expect(fromStatus(error)).toBeInstanceOf(Unimplemented);
  });

  test('a stream of an unknown method ends with METHOD_UNKNOWN and does not hang', async () => {
    await using echo = await startEcho();
    const { chat } = EchoDefinition.methods;
    const other = { ...EchoDefinition, methods: { chat: { ...chat, name: 'Chatter' } } } as const;
    const client = echo.caller.context.clients.of(other, echo.target);
    const endless = (async function* () {
      yield {};
      await new Promise(() => {});
    })();
    const reading = client.chat(endless)[Symbol.asyncIterator]().next();
    expect((await failureOf(reading)).reason).toBe('METHOD_UNKNOWN');
  });

  test('a message larger than the limit is refused with MESSAGE_TOO_LARGE', async () => {
    let served = 0;
    await using echo = await startEcho({
      say: async () => {
        served += 1;
        return {};
      },
    });
    const big = Buffer.from(
      ErrorInfo.encode(ErrorInfo.fromPartial({ reason: 'x'.repeat(10_000_000) })).finish(),
    );
    const error = await callBare(echo.target, '/nephos.test.v1.Echo/Say', big);
    expect(error.code).toBe(status.RESOURCE_EXHAUSTED);
    expect(errorInfo(error)).toMatchObject({ reason: 'MESSAGE_TOO_LARGE' });
    expect((await failureOf(echo.client.say({ reason: 'x'.repeat(10_000_000) }))).reason).toBe(
      'MESSAGE_TOO_LARGE',
    );
    expect(served).toBe(0);
    expect(await echo.client.say({ reason: 'x'.repeat(3_000_000) })).toBeDefined();
  });

  test('bytes that are no such message are FIELD_INVALID', async () => {
    await using echo = await startEcho();
    const error = await callBare(echo.target, '/nephos.test.v1.Echo/Say', Buffer.from([0x0a, 0xff, 0xff]));
    expect(error.code).toBe(status.INVALID_ARGUMENT);
    expect(errorInfo(error)?.reason).toBe('FIELD_INVALID');
  });

  test('a reason that this version does not know passes on', () => {
    const sent = toStatus(new Precondition('STATE_FORBIDS', 'x'), 'r');
    const bytes = sent.metadata.get('grpc-status-details-bin')[0] as Buffer;
    const newer = Buffer.from(bytes.toString('latin1').replace('STATE_FORBIDS', 'STATE_FORBIDZ'), 'latin1');
    const metadata = new grpc.Metadata();
    metadata.set('grpc-status-details-bin', newer);
    expect(fromStatus({ ...sent, metadata }).reason).toBe('STATE_FORBIDZ');
  });

  test('where nobody listens, the error says what and where, once', async () => {
    await using echo = await startEcho();
    const client = echo.caller.context.clients.of(EchoDefinition, '127.0.0.1:1');
    const { message } = await failureOf(client.say({}, { attempts: 1 }));
    expect(message).toBe('no connection: connect ECONNREFUSED 127.0.0.1:1');
  });

  test('a status without our details still has a kind and a reason; broken details do no harm', () => {
    const metadata = new grpc.Metadata();
    metadata.set('grpc-status-details-bin', Buffer.from([1, 2, 3]));
    expect(fromStatus({ code: status.UNAVAILABLE, details: 'gone', metadata })).toBeInstanceOf(Unavailable);
    expect(fromStatus({ code: status.UNKNOWN, details: 'odd' })).toMatchObject({
      kind: 'internal',
      reason: 'INTERNAL',
    });
  });

  test('an answer that broke off with its server is unavailability, and so tried again', () => {
    const details = 'Received RST_STREAM with code 0 (Call ended without gRPC status)';
    expect(fromStatus({ code: status.INTERNAL, details })).toBeInstanceOf(Unavailable);
    expect(fromStatus({ code: status.INTERNAL, details: 'a fault' })).toMatchObject({ kind: 'internal' });
    expect(fromStatus(toStatus(new Internal('INTERNAL', details), 'r'))).toMatchObject({ kind: 'internal' });
  });

  test('many and long details are cut to what every client can take in', () => {
    const fields = Array.from({ length: 500 }, (_, i) => ({ field: `f${i}`, description: 'd'.repeat(1000) }));
    const sent = toStatus(new Invalid('FIELD_INVALID', 'm'.repeat(50_000), { fields }), 'r');
    const bytes = sent.metadata.get('grpc-status-details-bin')[0] as Buffer;
    expect(bytes.byteLength).toBeLessThan(6 * 1024);
    const back = fromStatus(sent);
    expect(back.reason).toBe('FIELD_INVALID');
    expect(back.details.fields?.[0]?.field).toBe('f0');
  });
});
