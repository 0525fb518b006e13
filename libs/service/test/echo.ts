/** A contract with one method of each kind, for the tests: its messages are ones that exist anyway. */
import { ErrorInfo } from '@nephos/proto/google/rpc/error_details';
import type { ConfigSchema, Implementation, ServiceContext, ServiceDefinition } from '../src/index.ts';
import { defineService, startService } from '../src/index.ts';

export const EchoDefinition = {
  name: 'Echo',
  fullName: 'nephos.test.v1.Echo',
  methods: {
    say: {
      name: 'Say',
      requestType: ErrorInfo,
      requestStream: false,
      responseType: ErrorInfo,
      responseStream: false,
    },
    count: {
      name: 'Count',
      requestType: ErrorInfo,
      requestStream: false,
      responseType: ErrorInfo,
      responseStream: true,
    },
    gather: {
      name: 'Gather',
      requestType: ErrorInfo,
      requestStream: true,
      responseType: ErrorInfo,
      responseStream: false,
    },
    chat: {
      name: 'Chat',
      requestType: ErrorInfo,
      requestStream: true,
      responseType: ErrorInfo,
      responseStream: true,
    },
  },
} as const;

export type Echo = Implementation<typeof EchoDefinition>;

/** Says back what it hears. */
export const plainEcho: Echo = {
  say: async (request) => request,
  async *count(request) {
    for (let i = 0; i < Number(request.reason); i += 1) yield { reason: String(i) };
  },
  async gather(requests) {
    const heard: string[] = [];
    for await (const { reason } of requests) heard.push(reason);
    return { reason: heard.join(',') };
  },
  async *chat(requests) {
    for await (const { reason } of requests) yield { reason: `${reason}!` };
  },
};

/** A service that serves Echo, each method replaceable. */
export function echoService(
  own: Partial<Echo> = {},
  also: (context: ServiceContext) => Promise<void> | void = () => {},
): ServiceDefinition<ConfigSchema> {
  return defineService<ConfigSchema>({
    name: 'echo',
    version: '1.0.0',
    config: {},
    async start(context) {
      context.server.add(EchoDefinition, { ...plainEcho, ...own });
      await also(context);
    },
  });
}

export const quiet = { NEPHOS_LOG_LEVEL: 'silent', NEPHOS_DRAIN_DELAY: '0ms' };

/** An echo service and a client of it, called by another service. */
export async function startEcho(
  own: Partial<Echo> = {},
  also: (context: ServiceContext) => Promise<void> | void = () => {},
  env: Readonly<Record<string, string>> = quiet,
) {
  const service = await startService(echoService(own, also), { env });
  const caller = await startService(
    defineService({ name: 'caller', version: '1.0.0', config: {}, start: async () => {} }),
    { env: quiet },
  );
  const target = `${service.address.host}:${service.address.port}`;
  return {
    service,
    target,
    caller,
    client: caller.context.clients.of(EchoDefinition, target),
    async [Symbol.asyncDispose]() {
      await Promise.all([service.stop({ graceMs: 2000 }), caller.stop()]);
    },
  };
}

/** All that a stream gives. */
export async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of stream) all.push(item);
  return all;
}
