/** A service that has joined the directory, as services do. Arguments: the directory's address, a folder. */
import { joinDirectory } from '@nephos/directory';
import { defineService, startService } from '@nephos/service';
import { answer } from '../child.ts';
import type { MemberCommands } from './commands.ts';

const [seeds = '', data = ''] = process.argv.slice(2);
const service = await startService(
  defineService({
    name: 'member',
    version: '1.0.0',
    config: {},
    start: async (ctx) => void (await joinDirectory(ctx)),
  }),
  { env: { NEPHOS_DIRECTORY: seeds, NEPHOS_DATA: data, NEPHOS_BIND: '127.0.0.1:0' } },
);

answer<MemberCommands>({ id: async () => service.context.instanceId }, () => service.stop());
