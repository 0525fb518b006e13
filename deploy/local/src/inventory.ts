/**
 * Makes what a first VM needs: a zone with a pod and a cluster, this machine (or simulated ones) as hosts, sizes and
 * a template. Everything is looked up by its name first, so that a second start makes nothing.
 */
import { copyFile, mkdir, rename, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { finishedOperation, type Platform, sizeText } from '@nephos/client';
import type { ResourceHeader } from '@nephos/proto/nephos/common/v1/resource';
import { Health } from '@nephos/proto/nephos/directory/v1/instance';
import { ClusterServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/cluster';
import {
  type Host,
  HostServiceDefinition,
  HostStatus_Link,
} from '@nephos/proto/nephos/orchestration/v1/host';
import { OfferingServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/offering';
import { PodServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/pod';
import { ZoneServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/zone';
import { HypervisorServiceDefinition } from '@nephos/proto/nephos/plugin/v1/hypervisor';
import {
  type Template,
  Template_State,
  TemplateServiceDefinition,
} from '@nephos/proto/nephos/template/v1/template';
import { Unavailable } from '@nephos/service';
import { JobDrawing } from './job-drawing.ts';
import { type Mode, serviceNames } from './layout.ts';
import type { RequestIds } from './request-ids.ts';
import type { Screen } from './screen.ts';

const mebibyte = 2n ** 20n;
const linkMs = 30_000;
const askAgainMs = 50;
export const templateName = 'tiny';

const offerings = [
  { displayName: 'tiny', vcpus: 1, memoryBytes: 128n * mebibyte },
  { displayName: 'small', vcpus: 1, memoryBytes: 512n * mebibyte },
  { displayName: 'medium', vcpus: 2, memoryBytes: 2048n * mebibyte },
] as const;

export interface Inventory {
  readonly zone: string;
  readonly hosts: readonly Host[];
  readonly offering: string;
  readonly template: string;
}

export interface Maker {
  readonly platform: Platform;
  readonly screen: Screen;
  readonly requestIds: RequestIds;
  readonly signal: AbortSignal;
}

interface Named {
  readonly header?: ResourceHeader | undefined;
}

export function nameOf({ header }: Named): string {
  return header?.name ?? '';
}

/** Waits until the directory lists every service: an instance registers a moment after it serves. */
export async function awaitListed({ platform, screen, signal }: Maker): Promise<void> {
  const began = platform.clock.monotonic();
  for (;;) {
    const serving = (await platform.instances()).filter(({ health }) => health === Health.SERVING);
    const missing = serviceNames.filter((name) => !serving.some(({ service }) => service === name));
    if (missing.length === 0) break;
    if (platform.clock.monotonic() - began > linkMs) {
      throw new Unavailable(
        'SERVICE_UNAVAILABLE',
        `the directory does not list ${missing.join(', ')} after 30 s`,
      );
    }
    await platform.clock.sleep(askAgainMs, signal);
  }
  screen.done('directory', `lists all ${serviceNames.length} services`, platform.clock.monotonic() - began);
}

/** Finds the resource or makes it, and says which. */
async function ensure<R extends Named>(
  { screen, requestIds, platform }: Maker,
  what: string,
  find: () => Promise<R | undefined>,
  create: (options: { readonly requestId: string }) => Promise<R>,
): Promise<R> {
  const began = platform.clock.monotonic();
  const found = await find();
  const resource = found ?? (await create({ requestId: requestIds.of(what) }));
  requestIds.forget(what);
  const took = platform.clock.monotonic() - began;
  screen.done(
    what.split(' ')[0] ?? what,
    `${resource.header?.displayName}  ${found ? 'is there' : 'made'}`,
    took,
  );
  return resource;
}

export async function ensureInventory(maker: Maker): Promise<Inventory> {
  const { platform } = maker;
  const zones = await platform.client(ZoneServiceDefinition, 'orchestrator');
  const pods = await platform.client(PodServiceDefinition, 'orchestrator');
  const clusters = await platform.client(ClusterServiceDefinition, 'orchestrator');
  const local = { displayName: 'local' };
  const named = 'display_name = "local"';
  const zone = await ensure(
    maker,
    'zone',
    async () => (await zones.listZones({ filter: named })).zones[0],
    (options) => zones.createZone({ zone: { header: local, description: 'This machine' } }, options),
  );
  const header = { ...local, zone: nameOf(zone) };
  const inZone = `${named} AND zone = "${nameOf(zone)}"`;
  const pod = await ensure(
    maker,
    'pod',
    async () => (await pods.listPods({ filter: inZone })).pods[0],
    (options) => pods.createPod({ pod: { header } }, options),
  );
  const cluster = await ensure(
    maker,
    'cluster',
    async () => (await clusters.listClusters({ filter: inZone })).clusters[0],
    (options) => clusters.createCluster({ cluster: { header, pod: nameOf(pod) } }, options),
  );
  const hosts = await ensureHosts(maker, nameOf(cluster), nameOf(zone));
  const offering = await ensureOfferings(maker);
  const template = await ensureTemplate(maker, nameOf(zone));
  return { zone: nameOf(zone), hosts, offering, template: nameOf(template) };
}

async function ensureHosts(maker: Maker, cluster: string, zone: string): Promise<Host[]> {
  const { platform } = maker;
  const client = await platform.client(HostServiceDefinition, 'orchestrator');
  const hypervisor = await platform.client(HypervisorServiceDefinition, 'host-agent');
  const { agentId, hosts: offered } = await hypervisor.getCapabilities({});
  const filter = `agent_id = "${agentId}"`;
  const known = (await client.listHosts({ filter, pageSize: 500 })).hosts;
  for (const { host } of offered) {
    await ensure(
      maker,
      `host ${host}`,
      async () => known.find(({ agentHost }) => agentHost === host),
      (options) =>
        client.createHost(
          { host: { header: { displayName: host, zone }, cluster, agentId, agentHost: host } },
          options,
        ),
    );
  }
  return linkedHosts(maker, filter, offered.length);
}

/** Waits until the agent's observations arrive: before that nothing can be placed. */
async function linkedHosts(
  { platform, screen, signal }: Maker,
  filter: string,
  count: number,
): Promise<Host[]> {
  const { clock } = platform;
  const client = await platform.client(HostServiceDefinition, 'orchestrator');
  const began = clock.monotonic();
  for (;;) {
    const { hosts } = await client.listHosts({ filter, pageSize: 500 });
    const up = hosts.filter(({ status }) => status?.link === HostStatus_Link.UP);
    if (up.length >= count) {
      const { hypervisor = '', accelerator = '', capacity } = up[0]?.status ?? {};
      const room = `${capacity?.cpus ?? 0} CPUs, ${sizeText(Number(capacity?.memoryBytes ?? 0))} for guests`;
      const [kind = '', ...why] = accelerator.split(': ');
      const told = `${count} up, ${hypervisor} (${kind}), ${room}${count > 1 ? ' each' : ''}`;
      screen.done('link', told, clock.monotonic() - began);
      if (why.length > 0) screen.detail(why.join(': '));
      return up;
    }
    if (clock.monotonic() - began > linkMs) {
      const reasons = hosts.flatMap(({ status }) => status?.reasons ?? []).join('; ');
      throw new Unavailable('HOST_NOT_READY', `${up.length} of ${count} hosts are up after 30 s. ${reasons}`);
    }
    await clock.sleep(askAgainMs, signal);
  }
}

async function ensureOfferings(maker: Maker): Promise<string> {
  const client = await maker.platform.client(OfferingServiceDefinition, 'orchestrator');
  const { computeOfferings: known } = await client.listComputeOfferings({ pageSize: 500 });
  const names: string[] = [];
  for (const { displayName, ...numbers } of offerings) {
    const offering = await ensure(
      maker,
      `offering ${displayName}`,
      async () => known.find(({ header }) => header?.displayName === displayName),
      (options) =>
        client.createComputeOffering({ computeOffering: { header: { displayName }, ...numbers } }, options),
    );
    names.push(nameOf(offering));
  }
  return names[0] ?? '';
}

async function ensureTemplate(maker: Maker, zone: string): Promise<Template> {
  const { platform, requestIds, screen, signal } = maker;
  const client = await platform.client(TemplateServiceDefinition, 'template');
  const filter = `display_name = "${templateName}" AND zone = "${zone}"`;
  const find = async () => (await client.listTemplates({ filter })).templates[0];
  const began = platform.clock.monotonic();
  let found = await find();
  if (found?.state === Template_State.FAILED) {
    await client.deleteTemplate({ name: nameOf(found) });
    requestIds.forget('template');
    found = undefined;
  }
  const made = found === undefined;
  if (made) {
    const request = {
      template: { header: { displayName: templateName, zone } },
      source: { source: { $case: 'builtIn', value: templateName } as const },
    };
    const operation = await client.createTemplate(request, { requestId: requestIds.of('template') });
    const drawing = new JobDrawing(screen);
    await finishedOperation(platform, operation, { signal, onChange: (job) => drawing.draw(job) });
    drawing.end();
  }
  requestIds.forget('template');
  const template = await readyTemplate(maker, find);
  const about = `${sizeText(Number(template.sizeBytes))}, sha256 ${template.sha256.slice(0, 12)}`;
  const took = platform.clock.monotonic() - began;
  screen.done('template', `${templateName}  ${made ? 'made' : 'is there'}, ${about}`, took);
  return template;
}

/** An import that an earlier start began may still be under way. */
async function readyTemplate(
  { platform, signal }: Maker,
  find: () => Promise<Template | undefined>,
): Promise<Template> {
  for (;;) {
    const template = await find();
    if (template?.state === Template_State.READY) return template;
    if (template?.state !== Template_State.IMPORTING) {
      const why = template?.error?.message ?? 'it is not there';
      throw new Unavailable('SERVICE_UNAVAILABLE', `template ${templateName} is not ready: ${why}`);
    }
    await platform.clock.sleep(askAgainMs, signal);
  }
}

const standInBytes = 2 ** 20;

/**
 * Puts the guest image where the template service looks for built-in ones. Simulated hosts boot nothing, so that
 * there a disk that says so stands in where no image was built.
 */
export async function placeGuestImage(folder: string, image: string | undefined, mode: Mode): Promise<void> {
  await mkdir(folder, { recursive: true });
  const file = path.join(folder, `${templateName}.qcow2`);
  const fresh = `${file}.new`;
  if (image !== undefined && (await stat(image).catch(() => undefined))?.isFile()) {
    await symlink(path.resolve(image), fresh).catch(() => copyFile(image, fresh));
  } else if (mode === 'simulated') {
    const disk = Buffer.alloc(standInBytes);
    disk.write('Nephos: a stand-in for a guest image. Simulated hosts boot nothing.\n');
    disk.writeUInt16LE(0xaa55, 510);
    await writeFile(fresh, disk);
  } else {
    throw new Unavailable(
      'IMAGE_SOURCE_REFUSED',
      `the guest image ${image ?? ''} is not there: npm run setup`,
    );
  }
  await rename(fresh, file);
}
