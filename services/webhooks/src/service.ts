/**
 * The webhook bridge, put together: delivers events over HTTP to those who have neither NATS nor gRPC (RFC, Events
 * Framework: components outside interact only through event notifications). Every instance serves the API; one at a
 * time runs the bridge.
 */
import { joinDirectory } from '@nephos/directory';
import { connectBus, openEntity, startRelay } from '@nephos/events';
import { openIdempotency, sweepRequests } from '@nephos/idempotency';
import { holdLease, openLeases } from '@nephos/leases';
import { WebhookServiceDefinition } from '@nephos/proto/nephos/webhooks/v1/webhook';
import { config, defineService, Invalid } from '@nephos/service';
import { openServiceStore } from '@nephos/store';
import { DeliveryLog } from './adapters/delivery-log.ts';
import { Sender } from './adapters/sender.ts';
import { deliveriesApi } from './api/deliveries.ts';
import { webhooksApi } from './api/webhooks.ts';
import { Bridge } from './bridge.ts';
import { TargetPolicy } from './domain/target.ts';
import { attemptMeter } from './metrics.ts';
import { deliveryCollection } from './records/delivery.ts';
import { webhookEntity } from './records/webhook.ts';

const day = 24 * 60 * 60_000;

export const webhooksService = defineService({
  name: 'webhooks',
  version: '0.1.0',
  config: {
    webhookAllow: config.text({
      description:
        'ranges, comma-separated, e.g. 10.1.0.0/16, that webhooks may go to though they are not public',
      default: '',
    }),
    webhookLimit: config.integer({
      description: 'how many webhooks there may be: each has every event of its filter written down',
      default: 1000,
      min: 0,
    }),
    webhookKeepDelivered: config.duration({
      description: 'how long deliveries stay in the log',
      default: 3 * day,
    }),
    webhookKeepDead: config.duration({ description: 'how long dead letters are kept', default: 30 * day }),
  },
  async start(ctx) {
    const { clock, log: logger, server } = ctx;
    const policy = policyOf(ctx.config.webhookAllow);
    await joinDirectory(ctx);
    const store = await openServiceStore(ctx);
    const bus = await connectBus(ctx);
    startRelay(ctx, { store, bus });
    const idempotency = await openIdempotency(store, { clock, log: logger });
    const webhooks = await openEntity(store, webhookEntity, { source: ctx.name, clock });
    const log = new DeliveryLog(await store.collection(deliveryCollection), clock);
    const sender = ctx.resources.use(new Sender(policy, clock));
    const parts = { bus, webhooks, log, sender, clock, logger, onAttempt: attemptMeter() };

    server.add(WebhookServiceDefinition, {
      ...webhooksApi({ bus, webhooks, log, policy, idempotency, clock, limit: ctx.config.webhookLimit }),
      ...deliveriesApi(parts),
    });
    ctx.background('request sweeper', (signal) => sweepRequests(idempotency, { clock }, signal));
    const leases = await openLeases({ store, clock, log: logger, owner: ctx.instanceId });
    const keep = {
      keepDeliveredMs: ctx.config.webhookKeepDelivered,
      keepDeadMs: ctx.config.webhookKeepDead,
    };
    holdLease(ctx, { leases, name: 'webhook-bridge' }, ({ signal }) =>
      new Bridge({ ...parts, ...keep }).run(signal),
    );
  },
});

function policyOf(allowed: string): TargetPolicy {
  const ranges = allowed.split(',').map((range) => range.trim());
  try {
    return new TargetPolicy(ranges.filter((range) => range !== ''));
  } catch (cause) {
    throw new Invalid('FIELD_INVALID', 'NEPHOS_WEBHOOK_ALLOW: ranges such as 10.1.0.0/16, comma-separated', {
      cause,
    });
  }
}
