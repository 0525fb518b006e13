/** The peer's server: grpc-js as its documentation has it. */
import { once } from 'node:events';
import grpc from '@grpc/grpc-js';
import type { ErrorInfo } from '@nephos/proto/google/rpc/error_details';
import { answer } from '../child.ts';
import { bareEcho } from './bare-codec.ts';
import type { ServerCommands } from './commands.ts';
import { message } from './echo.ts';

async function answerAll(call: grpc.ServerWritableStream<ErrorInfo, ErrorInfo>): Promise<void> {
  for (let left = Number(call.request.reason); left > 0; left -= 1) {
    if (!call.write(message)) await once(call, 'drain');
  }
  call.end();
}

const server = new grpc.Server();
server.addService(bareEcho, {
  say: (call: grpc.ServerUnaryCall<ErrorInfo, ErrorInfo>, callback: grpc.sendUnaryData<ErrorInfo>) =>
    callback(null, call.request),
  count: (call: grpc.ServerWritableStream<ErrorInfo, ErrorInfo>) => void answerAll(call),
  chat: (call: grpc.ServerDuplexStream<ErrorInfo, ErrorInfo>) => {
    call.on('data', (request: ErrorInfo) => {
      if (call.write(request)) return;
      call.pause();
      call.once('drain', () => call.resume());
    });
    call.on('end', () => call.end());
  },
});
const port = await new Promise<number>((resolve, reject) => {
  server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
    error === null ? resolve(bound) : reject(error),
  );
});

answer<ServerCommands>({ port: async () => port }, async () => server.forceShutdown());
