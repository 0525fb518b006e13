/** Our client: that of a service started as every service is. Argument: the server's address. */
import { defineService, startService } from '@nephos/service';
import { answer } from '../child.ts';
import type { ClientCommands } from './commands.ts';
import { commandsOf } from './drive.ts';
import { EchoDefinition, message } from './echo.ts';

const [target = ''] = process.argv.slice(2);
const caller = await startService(
  defineService({ name: 'caller', version: '1.0.0', config: {}, start: async () => undefined }),
);
const client = caller.context.clients.of(EchoDefinition, target);

async function* messages(left: number) {
  for (; left > 0; left -= 1) yield message;
}

async function counted(answers: AsyncIterable<unknown>): Promise<number> {
  let came = 0;
  for await (const _answer of answers) came += 1;
  return came;
}

answer<ClientCommands>(
  commandsOf({
    say: (request) => client.say(request),
    count: (request) => counted(client.count(request)),
    chat: (count) => counted(client.chat(messages(count))),
  }),
  () => caller.stop(),
);
