/**
 * The webhook bridge, put together: delivers events over HTTPS to those who have neither NATS nor gRPC (RFC, Events
 * Framework: components outside interact only through event notifications).
 */
import { joinDirectory } from '@nephos/directory';
import { connectBus, startRelay } from '@nephos/events';
import { defineService } from '@nephos/service';
import { openServiceStore } from '@nephos/store';

export const webhooksService = defineService({
  name: 'webhooks',
  version: '0.1.0',
  config: {},
  async start(ctx) {
    await joinDirectory(ctx);
    const store = await openServiceStore(ctx);
    startRelay(ctx, { store, bus: await connectBus(ctx) });
  },
});
