/** Which hypervisor this agent drives, put together from its configuration: QEMU on this machine, or a simulated one. */
import { statfs } from 'node:fs/promises';
import { cpus, hostname, totalmem } from 'node:os';
import path from 'node:path';
import { QemuImg } from '@nephos/images';
import type { HypervisorDriver, StorageDriver, TemplateImage } from '@nephos/plugin';
import { type Knobs, SimulatedHypervisor, SimulatedStorage, SimulatedWorld } from '@nephos/plugin/simulated';
import type { PluginInfo } from '@nephos/proto/nephos/plugin/v1/plugin';
import {
  TemplateServiceDefinition,
  Template_State as TemplateState,
} from '@nephos/proto/nephos/template/v1/template';
import { Precondition, type ServiceContext } from '@nephos/service';
import type { Store } from '@nephos/store';
import { ImageCache } from './adapters/local/image-cache.ts';
import { LocalVolumes } from './adapters/local/volumes.ts';
import { hasMachines, probeQemu, QemuDriver, type QemuInstallation } from './adapters/qemu/index.ts';
import { QemuHypervisor } from './adapters/qemu-hypervisor.ts';

export interface HypervisorOptions {
  readonly hypervisor: 'auto' | 'qemu' | 'simulated';
  readonly guestMemory: number;
  readonly simulatedHosts: number;
  readonly simulatedMemory: number;
  readonly simulatedCpus: number;
  readonly knobs: Knobs;
}

export interface Drivers {
  readonly hypervisor: HypervisorDriver;
  readonly storage: StorageDriver;
}

/** Share of the machine's memory that guests may take unless told. */
const guestShare = 0.7;
const mebibyte = 2 ** 20;
const simulatedDiskBytes = 4n * 2n ** 40n;

export async function openDrivers(
  ctx: ServiceContext,
  store: Store,
  options: HypervisorOptions,
): Promise<Drivers> {
  if (options.hypervisor === 'simulated') return openSimulated(ctx, store, options);
  const installation = await findQemu(ctx, options.hypervisor);
  if (installation === undefined) return openSimulated(ctx, store, options);
  return openQemu(ctx, installation, options.guestMemory);
}

/**
 * Undefined: simulate. Only where `auto` finds no QEMU and never drove one here: a host with guests does not turn
 * into a simulated one because a probe failed or a record cannot be read.
 */
async function findQemu(
  { clock, config, log }: ServiceContext,
  hypervisor: HypervisorOptions['hypervisor'],
): Promise<QemuInstallation | undefined> {
  try {
    return await probeQemu({ clock });
  } catch (error) {
    if (hypervisor === 'qemu' || hasMachines(config.data)) throw error;
    log.warn({ err: error }, 'QEMU cannot be used here: machines are simulated, nothing boots');
    return undefined;
  }
}

function infoOf(ctx: ServiceContext, name: string, backendVersion: string): PluginInfo {
  return { name, version: ctx.version, backendVersion, contractVersions: ['v1'], configSchema: '{}' };
}

async function openQemu(
  ctx: ServiceContext,
  installation: QemuInstallation,
  memory: number,
): Promise<Drivers> {
  const { clock, log, clients, resources, config } = ctx;
  const closing = new AbortController();
  resources.defer(() => closing.abort());
  const templates = clients.of(TemplateServiceDefinition, 'template');
  const qemuImg = new QemuImg({ clock, binary: installation.imageTool });
  const images = new ImageCache(
    path.join(config.data, 'templates'),
    (name, offset, signal) => templates.readTemplate({ name, offset: BigInt(offset) }, { signal }),
    qemuImg,
    closing.signal,
  );
  const info = infoOf(ctx, 'qemu', installation.version);
  const host = hostname().toLowerCase();
  const volumes = new LocalVolumes({ root: path.join(config.data, 'volumes'), host, images, qemuImg, info });
  await volumes.prepare();
  const driver = resources.use(await QemuDriver.open({ root: config.data, installation, clock, log }));
  const { bavail, bsize } = await statfs(config.data);
  // What volumes take is claimed already: left out, a host would shrink with each start.
  const diskBytes = bavail * bsize + (await volumes.usedBytes());
  const guestMemory = memory > 0 ? memory : totalmem() * guestShare;
  const capabilities = {
    host,
    hypervisor: 'qemu',
    accelerator: installation.accelerator,
    acceleratorReason: installation.acceleratorReason,
    cpus: cpus().length,
    memoryBytes: BigInt(Math.floor(guestMemory / mebibyte) * mebibyte),
    diskBytes: BigInt(diskBytes),
    architecture: 'x86_64',
  };
  return { hypervisor: new QemuHypervisor(driver, volumes, capabilities, info), storage: volumes };
}

async function openSimulated(
  ctx: ServiceContext,
  store: Store,
  options: HypervisorOptions,
): Promise<Drivers> {
  const templates = ctx.clients.of(TemplateServiceDefinition, 'template');
  const check = async ({ template, sha256 }: TemplateImage): Promise<void> => {
    const found = await templates.getTemplate({ name: template });
    if (found.state === TemplateState.READY && found.sha256 === sha256) return;
    throw new Precondition('STORAGE_FAILED', `${template} is not ready, or has another content`);
  };
  const world = await SimulatedWorld.open(store, options.simulatedHosts, ctx.clock, options.knobs);
  const info = infoOf(ctx, 'simulated', '');
  const size = {
    hypervisor: 'simulated',
    accelerator: 'none',
    acceleratorReason: 'nothing boots: machines are records',
    cpus: options.simulatedCpus,
    memoryBytes: BigInt(options.simulatedMemory),
    diskBytes: simulatedDiskBytes,
    architecture: 'x86_64',
  };
  return {
    hypervisor: new SimulatedHypervisor(world, size, info),
    storage: new SimulatedStorage(world, simulatedDiskBytes, check, info),
  };
}
