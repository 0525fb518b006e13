/**
 * The events service, put together: events for those who have only gRPC, the subscriptions there are and what they
 * gave up on, the schemas of what events carry, and credentials for third parties (RFC, Events Framework).
 */
import { joinDirectory } from '@nephos/directory';
import { connectBus, startRelay } from '@nephos/events';
import { DeadLetterServiceDefinition } from '@nephos/proto/nephos/events/v1/dead_letter';
import { EventServiceDefinition } from '@nephos/proto/nephos/events/v1/event_service';
import { SchemaServiceDefinition } from '@nephos/proto/nephos/events/v1/schema';
import { SubscriptionServiceDefinition } from '@nephos/proto/nephos/events/v1/subscription';
import { config, defineService, hostAndPort } from '@nephos/service';
import { openServiceStore } from '@nephos/store';
import { Activity } from './activity.ts';
import { serveSchemas } from './adapters/schema-server.ts';
import { deadLetterApi } from './api/dead-letter-api.ts';
import { schemaApi } from './api/schema-api.ts';
import { subscriptionApi } from './api/subscription-api.ts';
import { Catalog } from './catalog.ts';
import { credentialConfig } from './credentials/authority.ts';
import { startCredentials } from './credentials/start.ts';
import { observeSubscriptions } from './subscription-metrics.ts';
import { Watching } from './watching.ts';

export const eventsService = defineService({
  name: 'events',
  version: '0.1.0',
  config: {
    ...credentialConfig,
    eventsWatches: config.integer({ description: 'watches at once, at most', default: 1_000, min: 1 }),
    eventsHeartbeat: config.duration({
      description: 'how often a quiet watch gives a sign of life; 1s or more',
      default: 5_000,
    }),
    eventsHttpBind: config.text({
      description: 'host:port, or a port on loopback, to serve schemas on by plain HTTP; off by default',
      default: '',
    }),
  },
  async start(ctx) {
    const { clock, lifecycle, log, resources, server } = ctx;
    const { eventsWatches: most, eventsHeartbeat, eventsHttpBind, schemaBase: base } = ctx.config;
    await joinDirectory(ctx);
    const store = await openServiceStore(ctx);
    const bus = await connectBus(ctx);
    startRelay(ctx, { store, bus });
    await startCredentials(ctx, { store, bus });

    const watching = new Watching({ bus, most, heartbeatMs: Math.max(1_000, eventsHeartbeat) });
    lifecycle.onDraining(() => watching.drain());
    server.add(EventServiceDefinition, { watch: (request, call) => watching.watch(request, call) });

    const activity = new Activity({ bus, clock, log });
    ctx.background('subscriptions', (signal) => activity.run(signal));
    resources.use(observeSubscriptions(ctx.telemetry.meter, { bus, activity, clock }));
    server.add(SubscriptionServiceDefinition, subscriptionApi({ bus, activity, clock }));
    server.add(DeadLetterServiceDefinition, deadLetterApi(bus));

    const catalog = new Catalog({ version: ctx.version, base });
    server.add(SchemaServiceDefinition, schemaApi(catalog));
    if (eventsHttpBind !== '') {
      const bind = eventsHttpBind.includes(':') ? eventsHttpBind : `127.0.0.1:${eventsHttpBind}`;
      const { url } = resources.use(await serveSchemas(catalog, hostAndPort(bind)));
      log.info({ url }, 'schemas are served');
    }
  },
});
