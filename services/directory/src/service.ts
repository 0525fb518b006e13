/** The services directory, put together: the bus that keeps it, the registry, its API, its own membership. */
import { joinDirectory } from '@nephos/directory';
import { connectBus } from '@nephos/events';
import { DirectoryServiceDefinition } from '@nephos/proto/nephos/directory/v1/directory_service';
import { config, defineService } from '@nephos/service';
import { directoryApi } from './api/directory-api.ts';
import { localEndpoint } from './api/local-endpoint.ts';
import { Registry } from './registry.ts';
import { Watching } from './watching.ts';

export const directory = defineService({
  name: 'directory',
  version: '0.1.0',
  config: {
    natsReplicas: config.integer({ description: 'copies that the brokers keep', default: 1, min: 1, max: 5 }),
  },
  async start(ctx) {
    const { clock, log, resources, server, lifecycle } = ctx;
    const bus = await connectBus(ctx);
    const registry = resources.use(new Registry({ bus, clock, log, replicas: ctx.config.natsReplicas }));
    const watching = new Watching(registry, clock);
    const api = directoryApi(registry, watching, () => clock.now());
    server.add(DirectoryServiceDefinition, api);
    ctx.background('registry', (signal) => registry.run(signal));
    await joinDirectory(ctx, { endpoint: localEndpoint(api) });
    lifecycle.onDraining(() => watching.drain());
  },
});
