/** A service that calls members, and so follows their list. Arguments: the directory's address, a folder. */
import { joinDirectory } from '@nephos/directory';
import { defineService, startService } from '@nephos/service';
import { answer, sharedNow } from '../child.ts';
import type { ObserverCommands } from './commands.ts';

const [seeds = '', data = ''] = process.argv.slice(2);
let listed: readonly string[] = [];
let changed = Promise.withResolvers<void>();

const service = await startService(
  defineService({
    name: 'observer',
    version: '1.0.0',
    config: {},
    async start(ctx) {
      const directory = await joinDirectory(ctx);
      ctx.background('watch', async () => {
        for await (const instances of directory.watch('member')) {
          listed = instances.map(({ header }) => header?.uid ?? '');
          changed.resolve();
          changed = Promise.withResolvers<void>();
        }
      });
    },
  }),
  { env: { NEPHOS_DIRECTORY: seeds, NEPHOS_DATA: data, NEPHOS_BIND: '127.0.0.1:0' } },
);

async function until(holds: () => boolean): Promise<number> {
  while (!holds()) await changed.promise;
  return sharedNow();
}

answer<ObserverCommands>(
  {
    listed: ({ id }) => until(() => listed.includes(id)),
    gone: ({ id }) => until(() => !listed.includes(id)),
  },
  () => service.stop(),
);
