/**
 * The events service, put together: events for those who have only gRPC, the subscriptions there are and what they
 * gave up on, the schemas of what events carry, and credentials for third parties (RFC, Events Framework).
 */
import { joinDirectory } from '@nephos/directory';
import { connectBus, startRelay } from '@nephos/events';
import { defineService } from '@nephos/service';
import { openServiceStore } from '@nephos/store';
import { credentialConfig } from './credentials/authority.ts';
import { startCredentials } from './credentials/start.ts';

export const eventsService = defineService({
  name: 'events',
  version: '0.1.0',
  config: { ...credentialConfig },
  async start(ctx) {
    await joinDirectory(ctx);
    const store = await openServiceStore(ctx);
    const bus = await connectBus(ctx);
    startRelay(ctx, { store, bus });
    await startCredentials(ctx, { store, bus });
  },
});
