/** The peer's client: grpc-js as its documentation has it. Argument: the server's address. */
import { once } from 'node:events';
import grpc from '@grpc/grpc-js';
import type { ErrorInfo } from '@nephos/proto/google/rpc/error_details';
import { answer } from '../child.ts';
import { bareEcho } from './bare-codec.ts';
import type { ClientCommands } from './commands.ts';
import { commandsOf } from './drive.ts';
import { message } from './echo.ts';

const [target = ''] = process.argv.slice(2);
const client = new grpc.Client(target, grpc.credentials.createInsecure());
const { say, count, chat } = bareEcho;

function counted(call: grpc.ClientReadableStream<ErrorInfo> | grpc.ClientDuplexStream<ErrorInfo, ErrorInfo>) {
  return new Promise<number>((resolve, reject) => {
    let came = 0;
    const readable: NodeJS.ReadableStream = call;
    readable.on('data', () => (came += 1));
    readable.on('end', () => resolve(came));
    readable.on('error', reject);
  });
}

async function send(call: grpc.ClientDuplexStream<ErrorInfo, ErrorInfo>, messages: number): Promise<void> {
  for (let left = messages; left > 0; left -= 1) {
    if (!call.write(message)) await once(call, 'drain');
  }
  call.end();
}

answer<ClientCommands>(
  commandsOf({
    say: (request) =>
      new Promise((resolve, reject) => {
        client.makeUnaryRequest(
          say.path,
          say.requestSerialize,
          say.responseDeserialize,
          request,
          (error: grpc.ServiceError | null, answered?: ErrorInfo) => {
            if (error === null && answered !== undefined) resolve(answered);
            else reject(error ?? new Error('no answer'));
          },
        );
      }),
    count: (request) =>
      counted(
        client.makeServerStreamRequest(
          count.path,
          count.requestSerialize,
          count.responseDeserialize,
          request,
        ),
      ),
    chat: async (messages) => {
      const call = client.makeBidiStreamRequest(chat.path, chat.requestSerialize, chat.responseDeserialize);
      const [came] = await Promise.all([counted(call), send(call, messages)]);
      return came;
    },
  }),
  async () => client.close(),
);
