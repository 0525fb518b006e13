/**
 * By hand: how much a unary call costs through this layer, beside the same call through bare grpc-js with the same
 * generated codec. Each side has its server in one child process and its client here; rounds alternate, so that
 * a noisy machine hits both. Prints the ratio of throughputs with a 95 % interval of the paired rounds.
 *   node libs/service/bench/unary.ts [rounds] [calls a round] [in flight]
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import grpc from '@grpc/grpc-js';
import { ErrorInfo } from '@nephos/proto/google/rpc/error_details';
import { startService } from '../src/index.ts';
import { EchoDefinition, echoService } from '../test/echo.ts';

const path = `/${EchoDefinition.fullName}/Say`;
const encode = (message: ErrorInfo): Buffer => Buffer.from(ErrorInfo.encode(message).finish());
const decode = (bytes: Buffer): ErrorInfo => ErrorInfo.decode(bytes);
const bareDefinition = {
  say: {
    path,
    requestStream: false,
    responseStream: false,
    requestSerialize: encode,
    requestDeserialize: decode,
    responseSerialize: encode,
    responseDeserialize: decode,
  },
} as const;

async function serve(kind: 'bare' | 'layer'): Promise<number> {
  if (kind === 'layer') return (await startService(echoService())).address.port;
  const server = new grpc.Server();
  server.addService(bareDefinition, {
    say: (call: grpc.ServerUnaryCall<ErrorInfo, ErrorInfo>, callback: grpc.sendUnaryData<ErrorInfo>) =>
      callback(null, call.request),
  });
  return new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(error),
    );
  });
}

async function serverProcess(kind: 'bare' | 'layer') {
  const child = fork(import.meta.filename, [kind], { env: { ...process.env, NEPHOS_LOG_LEVEL: 'info' } });
  const [port] = (await once(child, 'message')) as [number];
  return { target: `127.0.0.1:${port}`, stop: () => child.kill() };
}

type Say = (request: ErrorInfo) => Promise<ErrorInfo>;

async function round(say: Say, calls: number, inFlight: number): Promise<number> {
  const request: ErrorInfo = {
    reason: 'a reason',
    domain: 'nephos.dev',
    metadata: { zone: 'z1', host: 'h1' },
  };
  let left = calls;
  const began = performance.now();
  await Promise.all(
    Array.from({ length: inFlight }, async () => {
      while (left > 0) {
        left -= 1;
        await say(request);
      }
    }),
  );
  return (calls / (performance.now() - began)) * 1000;
}

async function main(rounds: number, calls: number, inFlight: number): Promise<void> {
  const bareServer = await serverProcess('bare');
  const layerServer = await serverProcess('layer');
  const BareClient = grpc.makeGenericClientConstructor(bareDefinition, 'Echo');
  const bareClient = new BareClient(bareServer.target, grpc.credentials.createInsecure());
  const bare: Say = (request) =>
    new Promise((resolve, reject) => {
      const callback = (error: grpc.ServiceError | null, answer: ErrorInfo): void =>
        error === null ? resolve(answer) : reject(error);
      Reflect.apply(bareClient['say'] as (...args: unknown[]) => unknown, bareClient, [request, callback]);
    });
  const caller = await startService(echoService());
  const client = caller.context.clients.of(EchoDefinition, layerServer.target);
  const layer: Say = (request) => client.say(request);

  for (let i = 0; i < 2; i += 1) {
    await round(bare, calls, inFlight);
    await round(layer, calls, inFlight);
  }
  const ratios: number[] = [];
  for (let i = 0; i < rounds; i += 1) {
    const first = i % 2 === 0;
    const a = await round(first ? bare : layer, calls, inFlight);
    const b = await round(first ? layer : bare, calls, inFlight);
    const [bareRate, layerRate] = first ? [a, b] : [b, a];
    ratios.push(layerRate / bareRate);
    process.stdout.write(
      `bare ${bareRate.toFixed(0)}/s  layer ${layerRate.toFixed(0)}/s  ${(layerRate / bareRate).toFixed(3)}\n`,
    );
  }
  const mean = ratios.reduce((sum, ratio) => sum + ratio, 0) / rounds;
  const deviation = Math.sqrt(ratios.reduce((sum, ratio) => sum + (ratio - mean) ** 2, 0) / (rounds - 1));
  process.stdout.write(`ratio ${mean.toFixed(3)} ± ${((1.96 * deviation) / Math.sqrt(rounds)).toFixed(3)}\n`);
  bareClient.close();
  await caller.stop();
  bareServer.stop();
  layerServer.stop();
}

const [first, ...rest] = process.argv.slice(2);
if (first === 'bare' || first === 'layer') process.send?.(await serve(first));
else await main(Number(first ?? 10), Number(rest[0] ?? 4000), Number(rest[1] ?? 32));
