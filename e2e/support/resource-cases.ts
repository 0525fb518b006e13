// How each kind of resource is made, changed and removed on a real platform: by its own API, or by what makes it.
// A kind of resource that is not here fails every-resource.test.ts.
import { WebhookServiceDefinition } from '@nephos/proto/nephos/webhooks/v1/webhook';
import { type Ground, nameOf, type Platform, succeeded, until } from '@nephos/testing';
import type { Listener } from './told.ts';

export interface World {
  readonly platform: Platform;
  readonly ground: Ground;
  readonly listener: Listener;
}

/** What a case did, and so has to be told. */
export interface Happened {
  readonly name: string;
  /** The verb of its first event; default `created`. */
  readonly first?: string;
  /** A path that some later event must name as changed. */
  readonly changed: string;
  /** True: its last event is its removal. */
  readonly removed: boolean;
}

export type Case = (world: World) => Promise<Happened>;

const labels = { changed: 'yes' };
const mask = ['header.labels'];
const labelled = 'header.labels';

export const cases: Readonly<Record<string, Case>> = {
  zone: async ({ platform: { api } }) => {
    const name = nameOf(await api.zones.createZone({ zone: { header: { displayName: 'far' } } }));
    await api.zones.updateZone({ zone: { header: { name, labels } }, updateMask: mask });
    await api.zones.deleteZone({ name });
    return { name, changed: labelled, removed: true };
  },
  pod: async ({ platform: { api }, ground: { zone } }) => {
    const name = nameOf(await api.pods.createPod({ pod: { header: { displayName: 'p', zone } } }));
    await api.pods.updatePod({ pod: { header: { name, labels } }, updateMask: mask });
    await api.pods.deletePod({ name });
    return { name, changed: labelled, removed: true };
  },
  cluster: async ({ platform: { api }, ground: { zone } }) => {
    const pod = nameOf(await api.pods.createPod({ pod: { header: { displayName: 'for a cluster', zone } } }));
    const made = await api.clusters.createCluster({ cluster: { header: { displayName: 'c' }, pod } });
    const name = nameOf(made);
    await api.clusters.updateCluster({
      cluster: { header: { name }, cpuOvercommitRatio: 4 },
      updateMask: ['cpu_overcommit_ratio'],
    });
    await api.clusters.deleteCluster({ name });
    return { name, changed: 'cpuOvercommitRatio', removed: true };
  },
  host: async ({ platform: { api }, ground: { cluster } }) => {
    const host = { header: { displayName: 'absent' }, cluster, agentId: 'nobody', agentHost: 'absent' };
    const name = nameOf(await api.hosts.createHost({ host }));
    await api.hosts.updateHost({ host: { header: { name, labels } }, updateMask: mask });
    await api.hosts.deleteHost({ name });
    return { name, changed: labelled, removed: true };
  },
  compute_offering: async ({ platform: { api } }) => {
    const computeOffering = { header: { displayName: 'small' }, vcpus: 1, memoryBytes: 2n ** 27n };
    const name = nameOf(await api.offerings.createComputeOffering({ computeOffering }));
    await api.offerings.updateComputeOffering({
      computeOffering: { header: { name, labels } },
      updateMask: mask,
    });
    await api.offerings.deleteComputeOffering({ name });
    return { name, changed: labelled, removed: true };
  },
  disk_offering: async ({ platform: { api } }) => {
    const diskOffering = { header: { displayName: 'disk' }, sizeBytes: 2n ** 30n };
    const name = nameOf(await api.offerings.createDiskOffering({ diskOffering }));
    await api.offerings.updateDiskOffering({ diskOffering: { header: { name, labels } }, updateMask: mask });
    await api.offerings.deleteDiskOffering({ name });
    return { name, changed: labelled, removed: true };
  },
  template: async ({ platform: { api }, ground: { template, zone } }) => {
    const source = { source: { $case: 'builtIn' as const, value: 'tiny' } };
    const made = await api.templates.createTemplate({
      template: { header: { displayName: 't', zone } },
      source,
    });
    await succeeded(api, made);
    const { templates } = await api.templates.listTemplates({});
    const name = nameOf(templates.find((each) => nameOf(each) !== template));
    await api.templates.updateTemplate({ template: { header: { name, labels } }, updateMask: mask });
    await api.templates.deleteTemplate({ name });
    return { name, changed: 'state', removed: true };
  },
  vm: async (world) => {
    const { api } = world.platform;
    const name = await deployed(world, 'vm-case');
    await succeeded(api, await api.vms.stopVm({ name }));
    await succeeded(api, await api.vms.expungeVm({ name }));
    return { name, changed: 'status.state', removed: true };
  },
  volume: async (world) => {
    const { api } = world.platform;
    const vm = await deployed(world, 'volume-case');
    const name = (await api.vms.getVm({ name: vm })).status?.rootVolume ?? '';
    await succeeded(api, await api.vms.expungeVm({ name: vm }));
    return { name, changed: 'state', removed: true };
  },
  job: async (world) => {
    const { api } = world.platform;
    const vm = await deployed(world, 'job-case');
    const { jobs } = await api.jobs.listJobs({ filter: `target = "${vm}"` });
    return { name: nameOf(jobs[0]), first: 'submitted', changed: 'state', removed: false };
  },
  instance: async ({ platform: { services, api } }) => {
    // A service that starts, drains and leaves.
    await services.webhooks.stop();
    await services.webhooks.start();
    const filter = 'service = "webhooks" AND health = "SERVING"';
    const name = await until(
      async () => (await api.directory.listInstances({ filter })).instances[0]?.header?.name,
    );
    await services.webhooks.stop();
    await services.webhooks.start();
    return { name, changed: 'health', removed: true };
  },
  event_credential: async ({ platform: { api } }) => {
    const credential = { header: { displayName: 'third party' }, slice: { owner: 'acme' } };
    const name = nameOf((await api.credentials.createEventCredential({ credential })).credential);
    await api.credentials.revokeEventCredential({ name });
    return { name, changed: 'state', removed: false };
  },
  webhook: async ({ platform: { clients, services } }) => {
    const webhooks = clients.of(WebhookServiceDefinition, services.webhooks.address);
    const webhook = { header: { displayName: 'hook' }, url: 'https://example.com/hook', disabled: true };
    const name = nameOf((await webhooks.createWebhook({ webhook })).webhook);
    await webhooks.updateWebhook({ webhook: { header: { name, labels } }, updateMask: mask });
    await webhooks.deleteWebhook({ name });
    return { name, changed: labelled, removed: true };
  },
};

/** A VM that runs. */
async function deployed(
  { platform: { api }, ground: { zone, template } }: World,
  displayName: string,
): Promise<string> {
  const vm = {
    header: { displayName, zone, owner: 'ann' },
    spec: { vcpus: 1, memoryBytes: 2n ** 27n, template },
  };
  await succeeded(api, await api.vms.createVm({ vm }));
  return nameOf((await api.vms.listVms({ filter: `display_name = "${displayName}"` })).vms[0]);
}
