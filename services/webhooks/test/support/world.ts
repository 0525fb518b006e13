/** The webhook service on a real broker, with a producer of events beside it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { connectBus, defineEntity, type EntityCollection, openEntity, startRelay } from '@nephos/events';
import { type NatsServer, startNatsServer } from '@nephos/events/testing';
import { Pod } from '@nephos/proto/nephos/orchestration/v1/pod';
import { WebhookServiceDefinition } from '@nephos/proto/nephos/webhooks/v1/webhook';
import {
  type Client,
  type Clock,
  defineService,
  formatAddress,
  type HeaderRecord,
  headerMessage,
  newHeader,
  newUid,
  offsetClock,
  type RunningService,
  startService,
  systemClock,
} from '@nephos/service';
import { defineCollection, openServiceStore } from '@nephos/store';
import { webhooksService } from '../../src/service.ts';
import { Endpoint } from './endpoint.ts';

interface PodRecord {
  readonly header: HeaderRecord;
}

const podEntity = defineEntity<PodRecord, Pod>({
  entity: 'pod',
  collection: 'pods',
  message: Pod,
  store: defineCollection<PodRecord>({ name: 'pods', schemaVersion: 1, indexes: {} }),
  toMessage: ({ value, eventSeq }) => ({ header: headerMessage('pods', value.header, eventSeq) }),
  place: ({ header }) => header,
});

export type Webhooks = Client<typeof WebhookServiceDefinition>;

export interface World extends AsyncDisposable {
  readonly nats: NatsServer;
  readonly endpoint: Endpoint;
  readonly webhooks: Webhooks;
  /** Where the service keeps its data. */
  readonly data: string;
  /** Makes a pod, and so an event. */
  make(owner?: string): Promise<string>;
  change(uid: string): Promise<void>;
  stopService(): Promise<void>;
  startService(): Promise<void>;
  /** Shifts the wall clock of the webhook service. */
  jump(ms: number): void;
}

export async function openWorld(env: Record<string, string> = {}): Promise<World> {
  await using opening = new AsyncDisposableStack();
  const data = await mkdtemp(path.join(tmpdir(), 'nephos-webhooks-'));
  opening.defer(() => rm(data, { recursive: true, force: true }));
  const nats = opening.use(await startNatsServer());
  const endpoint = opening.use(await Endpoint.listen());
  const common = { NEPHOS_NATS: nats.url, NEPHOS_LOG_LEVEL: 'silent', NEPHOS_DRAIN_DELAY: '0s' };

  let pods: EntityCollection<PodRecord, Pod> | undefined;
  const producer = defineService({
    name: 'producer',
    version: '1.0.0',
    config: {},
    async start(ctx) {
      const store = await openServiceStore(ctx);
      startRelay(ctx, { store, bus: await connectBus(ctx) });
      pods = await openEntity(store, podEntity, { source: ctx.name, clock: ctx.clock });
    },
  });
  const producing = await startService(producer, {
    env: { ...common, NEPHOS_DATA: path.join(data, 'producer') },
  });
  opening.defer(() => producing.stop());
  const outside = await startService(
    defineService({ name: 'outside', version: '1.0.0', config: {}, start: () => Promise.resolve() }),
    { env: common },
  );
  opening.defer(() => outside.stop());

  const service = new Service({
    ...common,
    NEPHOS_DATA: path.join(data, 'webhooks'),
    NEPHOS_WEBHOOK_ALLOW: '127.0.0.1/32',
    ...env,
  });
  opening.defer(() => service.stop());
  await service.start();
  const all = opening.move();
  return {
    nats,
    endpoint,
    data: path.join(data, 'webhooks'),
    get webhooks() {
      return outside.context.clients.of(WebhookServiceDefinition, service.address);
    },
    make: async (owner = 'acme') => {
      const uid = newUid();
      const input = { displayName: uid, owner, zone: '', labels: {}, annotations: {} };
      await pods?.insert(uid, { header: newHeader(uid, input, systemClock) });
      return uid;
    },
    change: async (uid) => {
      await pods?.modify(uid, ({ header }) => ({
        header: { ...header, labels: { change: String(Number(header.labels['change'] ?? 0) + 1) } },
      }));
    },
    stopService: () => service.stop(),
    startService: () => service.start(),
    jump: (ms) => service.jump(ms),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

class Service {
  readonly #env: Record<string, string>;
  readonly #clock: Clock;
  #offset = 0;
  #running: RunningService | undefined;
  address = '';

  constructor(env: Record<string, string>) {
    this.#env = env;
    this.#clock = { ...offsetClock(systemClock, 0), now: () => offsetClock(systemClock, this.#offset).now() };
  }

  jump(ms: number): void {
    this.#offset += ms;
  }

  async start(): Promise<void> {
    this.#running = await startService(webhooksService, { env: this.#env, clock: this.#clock });
    this.address = formatAddress(this.#running.address);
  }

  async stop(): Promise<void> {
    await this.#running?.stop();
    this.#running = undefined;
  }
}
