/**
 * The events service, put together: events for those who have only gRPC, the subscriptions there are and what they
 * gave up on, the schemas of what events carry, and credentials for third parties (RFC, Events Framework).
 */
import { joinDirectory } from '@nephos/directory';
import { connectBus } from '@nephos/events';
import { defineService } from '@nephos/service';

export const eventsService = defineService({
  name: 'events',
  version: '0.1.0',
  config: {},
  async start(ctx) {
    await joinDirectory(ctx);
    await connectBus(ctx);
  },
});
