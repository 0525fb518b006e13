/** Our directory, started as it is anywhere. Arguments: broker, folder. */
import { directory } from '@nephos/directory-service';
import { formatAddress, startService } from '@nephos/service';
import { answer } from '../child.ts';
import type { ServerCommands } from './commands.ts';

const [nats = '', data = ''] = process.argv.slice(2);
const service = await startService(directory, {
  env: { NEPHOS_NATS: nats, NEPHOS_DATA: data, NEPHOS_BIND: '127.0.0.1:0' },
});

answer<ServerCommands>({ address: async () => formatAddress(service.address) }, () => service.stop());
