/** What a service tells of itself: log lines, spans, figures, reflection. */

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import grpc from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';
import { FileDescriptorProto } from '@nephos/proto/google/protobuf/descriptor';
import { trace } from '@opentelemetry/api';
import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import {
  config,
  currentTraceparent,
  defineService,
  NotFound,
  runAs,
  type ServiceContext,
  startService,
} from '../src/index.ts';
import { createLog } from '../src/log.ts';
import { EchoDefinition, echoService, plainEcho, quiet, startEcho } from './echo.ts';

type Line = Record<string, unknown>;

describe('logs', () => {
  test('an error is told whichever of the two usual names its field has', () => {
    const lines: string[] = [];
    const to = { write: (line: string) => void lines.push(line) };
    const log = createLog({ service: 'a', version: '1', instanceId: 'i', level: 'info', to });
    log.warn({ error: new Error('the disk is gone') }, 'it failed');
    log.warn({ err: new Error('the wire is cut') }, 'it failed too');
    log.warn({ error: 'in words' }, 'it failed again');
    expect(lines.join('')).toContain('the disk is gone');
    expect(lines.join('')).toContain('the wire is cut');
    expect(JSON.parse(lines[2] ?? '')).toMatchObject({ error: 'in words' });
  });

  test('passwords and tokens of every broker in a list stay out of the lines', async () => {
    const raw: string[] = [];
    const nats = 'nats://me:first-pass@a:1,nats://second-token@b:2,nats://me:100%@c:3';
    const speaker = defineService({
      name: 'speaker',
      version: '1',
      config: {},
      async start({ log, config: { nats: where } }) {
        log.info({ where }, `connecting to ${where}`);
      },
    });
    const env = { NEPHOS_NATS: nats, NEPHOS_DRAIN_DELAY: '0ms' };
    const service = await startService(speaker, { env, logTo: { write: (line) => raw.push(line) } });
    await service.stop();
    expect(raw.join('')).toContain('[secret]');
    expect(raw.join('')).not.toMatch(/first-pass|second-token|100%/);
  });

  test('a line carries the request id, the trace and the job of the work it was made in, and no secret', async () => {
    const raw: string[] = [];
    const secret = 'tr\\"icky/secret';
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const service = await startService(
      defineService({
        name: 'logger',
        version: '1',
        config: { token: config.secret({ description: 'a token' }) },
        async start({ server, config: { token, nats }, log }) {
          server.add(EchoDefinition, {
            ...plainEcho,
            say: async (request, call) => {
              call.log.info(
                { token, count: 12345678901234567890n, deep: { big: 1n } },
                `got ${token.reveal()}`,
              );
              log.info({ err: new Error(`refused ${token.reveal()} at ${nats}`) }, 'failed');
              return request;
            },
          });
        },
      }),
      {
        env: { NEPHOS_TOKEN: secret, NEPHOS_NATS: 'nats://me:pa%20ss@host:1', NEPHOS_DRAIN_DELAY: '0ms' },
        logTo: { write: (line) => raw.push(line) },
      },
    );
    await using caller = await startService(echoService(), { env: quiet });
    const client = caller.context.clients.of(EchoDefinition, `127.0.0.1:${service.address.port}`);
    await runAs({ traceparent, requestId: 'req-9' }, () => client.say({}));
    runAs({ jobId: 'job-4', requestId: 'req-10' }, () => service.context.log.info('in a job'));
    await service.stop();
    const lines = raw.map((line) => JSON.parse(line) as Line);
    expect(lines.find(({ msg }) => msg === 'got [secret]')).toMatchObject({
      request_id: 'req-9',
      trace_id: '0af7651916cd43dd8448eb211c80319c',
      span_id: 'b7ad6b7169203331',
      token: '[secret]',
      deep: { big: 1 },
    });
    expect(raw.join('')).toContain('12345678901234567890');
    expect(lines.find(({ msg }) => msg === 'in a job')).toMatchObject({
      job_id: 'job-4',
      request_id: 'req-10',
    });
    expect(raw.join('')).not.toContain('icky/secret');
    expect(raw.join('')).not.toMatch(/pa(%20| )ss/);
  });
});

describe('spans', () => {
  test('a span that nobody records, and that is of no trace, is handed on to nobody', async () => {
    const seen: (string | undefined)[] = [];
    await using echo = await startEcho({
      say: async (request) => {
        seen.push(currentTraceparent());
        return request;
      },
    });
    const { tracer } = echo.caller.context.telemetry;
    await tracer.startActiveSpan('work', async (span) => {
      expect(currentTraceparent()).toBeUndefined();
      await echo.client.say({});
      span.end();
    });
    const zeros = `00-${'0'.repeat(32)}-${'0'.repeat(16)}-00`;
    await runAs({ traceparent: zeros }, () => echo.client.say({}));
    expect(seen).toEqual([undefined, undefined]);
  });

  test('a call over two hops is one trace: caller, server, caller, server', async () => {
    const exporter = new InMemorySpanExporter();
    const tracerProvider = new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] });
    const back = await startService(
      echoService({
        say: async (request) => {
          if (request.reason === 'missing') throw new NotFound('RESOURCE_NOT_FOUND', 'not there');
          return { domain: currentTraceparent() ?? '' };
        },
      }),
      { env: quiet, tracerProvider },
    );
    let context: ServiceContext | undefined;
    const front = await startService(
      echoService(
        {
          say: async (request) => {
            const target = `127.0.0.1:${back.address.port}`;
            const answer = await context?.clients.of(EchoDefinition, target).say(request);
            trace.getActiveSpan()?.setAttribute('seen', true);
            return answer ?? {};
          },
        },
        (given) => {
          context = given;
        },
      ),
      { env: quiet, tracerProvider },
    );
    const { clients } = front.context;
    const client = clients.of(EchoDefinition, `127.0.0.1:${front.address.port}`);
    const { domain } = await client.say({});
    const spans = exporter.getFinishedSpans();
    expect(spans.map(({ kind }) => kind)).toEqual([1, 2, 1, 2]);
    const [backServer, frontClient, frontServer, first] = spans;
    const traceId = first?.spanContext().traceId;
    expect(new Set(spans.map((span) => span.spanContext().traceId))).toEqual(new Set([traceId]));
    expect(backServer?.parentSpanContext?.spanId).toBe(frontClient?.spanContext().spanId);
    expect(frontClient?.parentSpanContext?.spanId).toBe(frontServer?.spanContext().spanId);
    expect(frontServer?.parentSpanContext?.spanId).toBe(first?.spanContext().spanId);
    expect(first?.parentSpanContext).toBeUndefined();
    expect(frontServer?.attributes).toMatchObject({
      'rpc.method': 'Say',
      'rpc.response.status_code': 0,
      seen: true,
    });
    expect(domain).toBe(`00-${traceId}-${backServer?.spanContext().spanId}-01`);

    exporter.reset();
    await expect(client.say({ reason: 'missing' })).rejects.toThrow(NotFound);
    const failed = exporter.getFinishedSpans();
    expect(failed.map(({ attributes }) => attributes['error.type'])).toEqual(
      Array(4).fill('RESOURCE_NOT_FOUND'),
    );
    await front.stop();
    await back.stop();
    await tracerProvider.shutdown();
  });
});

describe('an exporter', () => {
  test('gets the spans where one is configured, all of them before the service has stopped', async () => {
    const posts: { url: string | undefined; body: string }[] = [];
    const collector = createServer((request, response) => {
      void text(request).then((body) => {
        posts.push({ url: request.url, body });
        response.setHeader('content-type', 'application/json').end('{}');
      });
    });
    await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
    const { port } = collector.address() as AddressInfo;
    const echo = await startEcho({}, () => {}, {
      ...quiet,
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
    });
    await echo.client.say({});
    await echo[Symbol.asyncDispose]();
    collector.closeAllConnections();
    collector.close();
    expect(posts.map(({ url }) => url)).toEqual(['/v1/traces']);
    expect(posts[0]?.body).toContain('nephos.test.v1.Echo/Say');
    expect(posts[0]?.body).toContain('service.instance.id');
  });
});

describe('figures', () => {
  test('are served to Prometheus where asked for: calls by method and status', async () => {
    const taken = await startEcho();
    const port = taken.service.address.port;
    await taken[Symbol.asyncDispose]();
    const env = { ...quiet, NEPHOS_METRICS_BIND: `127.0.0.1:${port}` };
    await using echo = await startEcho(
      {
        count: async function* () {
          yield {};
          throw new NotFound('RESOURCE_NOT_FOUND', 'no more');
        },
      },
      () => {},
      env,
    );
    await echo.client.say({});
    await echo.client.say({});
    await expect(
      (async () => {
        for await (const _ of echo.client.count({}));
      })(),
    ).rejects.toThrow('no more');
    const response = await fetch(`http://127.0.0.1:${port}/metrics`);
    const lines = (await response.text())
      .split('\n')
      .filter((line) => line.includes('rpc_server_call_duration'));
    const count = (method: string) =>
      lines.find((line) => line.includes('_count{') && line.includes(`rpc_method="${method}"`));
    expect(count('Say')).toMatch(/rpc_response_status_code="0".* 2$/);
    expect(count('Count')).toMatch(/rpc_response_status_code="5".* 1$/);
  });
});

describe('reflection', () => {
  const same = (bytes: Buffer): Buffer => bytes;
  const textQuestion = (field: number, text: string): Buffer =>
    Buffer.from(
      new BinaryWriter()
        .uint32((field << 3) | 2)
        .string(text)
        .finish(),
    );

  /** Asks in one stream; each answer as its field's number and the texts or files in it. */
  async function ask(target: string, version: string, questions: readonly Buffer[]) {
    const client = new grpc.Client(target, grpc.credentials.createInsecure());
    const path = `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`;
    const stream = client.makeBidiStreamRequest(path, same, same);
    const answers: { field: number; items: Buffer[] }[] = [];
    for (const question of questions) stream.write(question);
    stream.end();
    for await (const bytes of stream) {
      const reader = new BinaryReader(bytes as Buffer);
      while (reader.pos < reader.len) {
        const [field, wireType] = reader.tag();
        if (field < 4) reader.skip(wireType, field);
        else answers.push({ field, items: itemsOf(reader.bytes()) });
      }
    }
    client.close();
    return answers;
  }

  function itemsOf(bytes: Uint8Array): Buffer[] {
    const reader = new BinaryReader(bytes);
    const items: Buffer[] = [];
    while (reader.pos < reader.len) {
      const [field, wireType] = reader.tag();
      if (wireType === 2) items.push(Buffer.from(reader.bytes()));
      else reader.skip(wireType, field);
    }
    return items;
  }

  test.each(['v1', 'v1alpha'])(
    '%s lists the services and gives files with all that they import',
    async (version) => {
      await using echo = await startEcho();
      const [list, symbol, file, extension, numbers, unknown] = await ask(echo.target, version, [
        textQuestion(7, ''),
        textQuestion(4, 'nephos.common.v1.ResourceHeader'),
        textQuestion(3, 'nephos/common/v1/annotations.proto'),
        Buffer.from(
          new BinaryWriter()
            .uint32(42)
            .fork()
            .uint32(10)
            .string('google.protobuf.FieldOptions')
            .uint32(16)
            .int32(50_101)
            .join()
            .finish(),
        ),
        textQuestion(6, 'google.protobuf.MessageOptions'),
        textQuestion(4, 'nobody.knows.It'),
      ]);
      expect(list?.items.map((item) => item.subarray(2).toString())).toEqual(['nephos.test.v1.Echo']);
      const names = (files: readonly Buffer[] = []) =>
        files.map((bytes) => FileDescriptorProto.decode(bytes).name);
      expect(names(symbol?.items)).toEqual([
        'nephos/common/v1/resource.proto',
        'google/protobuf/timestamp.proto',
      ]);
      expect(names(file?.items)).toEqual([
        'nephos/common/v1/annotations.proto',
        'google/protobuf/descriptor.proto',
      ]);
      expect(names(extension?.items)[0]).toBe('nephos/common/v1/annotations.proto');
      expect(numbers?.items[0]?.toString()).toBe('google.protobuf.MessageOptions');
      expect(unknown?.field).toBe(7);
    },
  );
});
