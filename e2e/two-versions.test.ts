/**
 * Two versions of a service at once (DESIGN section 4): what a newer one stored and an older one does not know goes
 * through the older one unharmed, whatever is done there; and a client of an older contract changes what it names, and
 * nothing of what it cannot read. The newer version is this test: it writes into the same store, and serves a contract
 * with one more field and one more value.
 */
import { expect, test } from '@jest/globals';
import { PowerPolicy, VmStatus_State as State } from '@nephos/proto/nephos/orchestration/v1/vm';
import {
  type Zone as OlderZone,
  Zone,
  ZoneServiceDefinition,
} from '@nephos/proto/nephos/orchestration/v1/zone';
import {
  applyUpdateMask,
  defineService,
  formatAddress,
  type MessageType,
  startService,
  systemClock,
} from '@nephos/service';
import { defineCollection, type Json, openStore, serviceStoreUrl } from '@nephos/store';
import { onMongo } from '@nephos/store/testing/on-mongo';
import { atRest, layGround, nameOf, startPlatform, succeeded, until } from '@nephos/testing';

/** What the newer version keeps beside what the older one knows: a field, and one inside the header. */
type Newer = { readonly tier?: string; readonly header: { readonly badge?: string } } & {
  readonly [key: string]: Json;
};

await onMongo((server) => {
  test('what a newer version stored passes through an older one that changes the same records', async () => {
    const url = server.fresh();
    await using platform = await startPlatform({ store: url });
    const { api } = platform;
    const ground = await layGround(platform);
    const spec = { vcpus: 1, memoryBytes: 2n ** 27n, template: ground.template };
    const header = { displayName: 'vm', zone: ground.zone };
    await succeeded(api, await api.vms.createVm({ vm: { header, spec } }));
    const vm = nameOf((await api.vms.listVms({})).vms[0]);

    const newer = async (service: string, collection: string) => {
      const store = await openStore({ url: serviceStoreUrl(url, service), clock: systemClock });
      const definition = defineCollection<Newer>({ name: collection, schemaVersion: 2, indexes: {} });
      return { store, documents: await store.collection(definition) };
    };
    const places = [
      ['orchestrator', 'zones'],
      ['orchestrator', 'clusters'],
      ['orchestrator', 'hosts'],
      ['orchestrator', 'vms'],
      ['orchestrator', 'volumes'],
      ['template', 'templates'],
    ] as const;
    for (const [service, collection] of places) {
      const { store, documents } = await newer(service, collection);
      for (const { id } of (await documents.find({ limit: 100 })).items) {
        await documents.modify(id, ({ value }) => ({
          value: { ...value, tier: 'gold', header: { ...value.header, badge: 'red' } },
        }));
      }
      await store[Symbol.asyncDispose]();
    }
    const unknownPolicy = await newer('orchestrator', 'vms');
    await unknownPolicy.documents.modify(vm.slice('vms/'.length), ({ value }) => ({
      value: { ...value, spec: { ...(value['spec'] as object), powerPolicy: 'hibernate' } },
    }));
    await unknownPolicy.store[Symbol.asyncDispose]();

    const labels = { a: 'b' };
    const updateMask = ['header.labels'];
    const [host] = ground.hosts;
    await api.zones.updateZone({
      zone: { header: { name: ground.zone }, description: 'x' },
      updateMask: ['description'],
    });
    await api.clusters.updateCluster({
      cluster: { header: { name: ground.cluster }, cpuOvercommitRatio: 8 },
    });
    await api.hosts.cordonHost({ name: nameOf(host), reason: 'x' });
    await api.hosts.updateHost({ host: { header: { name: nameOf(host), labels } }, updateMask });
    await api.templates.updateTemplate({
      template: { header: { name: ground.template, labels } },
      updateMask,
    });
    const read = await api.vms.getVm({ name: vm });
    expect(read.spec?.powerPolicy).toBe(PowerPolicy.UNSPECIFIED);
    await api.vms.updateVm({ vm: { header: { name: vm, labels } }, updateMask });
    for (const verb of [
      api.vms.stopVm,
      api.vms.startVm,
      api.vms.rebootVm,
      api.vms.deleteVm,
      api.vms.undeleteVm,
    ]) {
      await succeeded(api, await verb({ name: vm }));
    }
    await succeeded(api, await api.vms.startVm({ name: vm }));
    await until(async () => (await api.vms.getVm({ name: vm })).status?.state === State.RUNNING);
    expect(await atRest(platform)).toEqual([]);

    for (const [service, collection] of places) {
      const { store, documents } = await newer(service, collection);
      const { items } = await documents.find({ limit: 100 });
      expect(items.length).toBeGreaterThan(0);
      for (const { value } of items) expect(value).toMatchObject({ tier: 'gold', header: { badge: 'red' } });
      if (collection === 'vms') expect(items[0]?.value['spec']).toMatchObject({ powerPolicy: 'hibernate' });
      await store[Symbol.asyncDispose]();
    }
  }, 300_000);
});

/** A zone of the next version: `tier = 1000`. */
interface NewerZone extends OlderZone {
  tier: string;
}
/** Field 1000, length-delimited. */
const tierTag = Buffer.from([0xc2, 0x3e]);

/** The next version's codec, by hand: the shipped one, and the field behind it. */
const NewerZone: MessageType<NewerZone> = {
  ...(Zone as unknown as MessageType<NewerZone>),
  fromPartial: (message) => ({
    ...Zone.fromPartial(message as Partial<OlderZone>),
    tier: message.tier ?? '',
  }),
  encode(message) {
    const tier = Buffer.from(message.tier);
    const bytes = Buffer.concat([Zone.encode(message).finish(), tierTag, Buffer.from([tier.length]), tier]);
    return { finish: () => bytes };
  },
  decode(bytes) {
    const at = Buffer.from(bytes).indexOf(tierTag);
    const length = bytes[at + tierTag.length] ?? 0;
    const from = at + tierTag.length + 1;
    const tier = at < 0 ? '' : Buffer.from(bytes.subarray(from, from + length)).toString();
    return { ...Zone.decode(bytes), tier };
  },
};

test('an older client reads, changes and sends back what a newer server serves, and nothing it cannot read is lost', async () => {
  const { methods } = ZoneServiceDefinition;
  const newerContract = {
    ...ZoneServiceDefinition,
    methods: {
      ...methods,
      getZone: { ...methods.getZone, responseType: NewerZone },
      updateZone: { ...methods.updateZone, responseType: NewerZone },
    },
  };
  let kept: NewerZone = {
    ...Zone.fromPartial({ header: { name: 'zones/z' }, description: 'old' }),
    tier: 'gold',
  };
  const service = await startService(
    defineService({
      name: 'newer',
      version: '0.2.0',
      config: {},
      start: async (ctx) => {
        ctx.server.add(newerContract as unknown as typeof ZoneServiceDefinition, {
          ...({} as Parameters<typeof ctx.server.add<typeof ZoneServiceDefinition>>[1]),
          getZone: async () => kept,
          updateZone: async ({ zone, updateMask }) => {
            kept = {
              ...kept,
              ...applyUpdateMask(kept, { tier: '', ...zone } as NewerZone, updateMask, [
                'description',
                'tier',
              ]),
            };
            return kept;
          },
        });
      },
    }),
    { env: { NEPHOS_LOG_LEVEL: 'silent', NEPHOS_DRAIN_DELAY: '0s' } },
  );
  await using _service = service;
  const { clients } = service.context;
  const address = formatAddress(service.address);
  const older = clients.of(ZoneServiceDefinition, address);
  const zone = await older.getZone({ name: 'zones/z' });
  expect(zone).not.toHaveProperty('tier');
  await older.updateZone({ zone: { ...zone, description: 'new' }, updateMask: ['description'] });
  expect(kept).toMatchObject({ description: 'new', tier: 'gold' });
  // The older client cannot send the tier back: all of the zone from its hand would be a zone without one.
  await expect(
    older.updateZone({ zone: { ...zone, description: 'all' }, updateMask: ['*'] }),
  ).rejects.toMatchObject({
    reason: 'UPDATE_MASK_INVALID',
    message: expect.stringContaining('description, tier'),
  });
  await older.updateZone({ zone: { ...zone, description: 'populated' } });
  expect(kept).toMatchObject({ description: 'populated', tier: 'gold' });
});
