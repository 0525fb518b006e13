/** Our server: a service of its own, started as every service is, at shipped defaults. */
import { defineService, startService } from '@nephos/service';
import { answer } from '../child.ts';
import type { ServerCommands } from './commands.ts';
import { EchoDefinition, message } from './echo.ts';

const service = await startService(
  defineService({
    name: 'echo',
    version: '1.0.0',
    config: {},
    async start({ server }) {
      server.add(EchoDefinition, {
        say: async (request) => request,
        async *count({ reason }) {
          for (let left = Number(reason); left > 0; left -= 1) yield message;
        },
        async *chat(requests) {
          for await (const request of requests) yield request;
        },
      });
    },
  }),
);

answer<ServerCommands>({ port: async () => service.address.port }, () => service.stop());
