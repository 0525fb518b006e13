/**
 * The simulated hosts' storage: volumes are records, and an image is there once the template service has told of
 * it; no byte of it is copied.
 */
import type { PluginInfo } from '@nephos/proto/nephos/plugin/v1/plugin';
import type { StorageCapabilities, StoredVolume } from '@nephos/proto/nephos/plugin/v1/storage';
import { Conflict, NotFound, notFound, Precondition } from '@nephos/service';
import type { StorageDriver, TemplateImage, VolumeSpec } from '../drivers.ts';
import { KeyedQueue } from '../keyed-queue.ts';
import { key } from './hypervisor.ts';
import type { SimulatedVolume, SimulatedWorld } from './world.ts';

/** Throws `Precondition` unless the template is ready and has that content. */
export type CheckTemplate = (image: TemplateImage) => Promise<void>;

export class SimulatedStorage implements StorageDriver {
  readonly info: PluginInfo;
  readonly #world: SimulatedWorld;
  readonly #hostBytes: bigint;
  readonly #check: CheckTemplate;
  /** Content that was checked since the start. */
  readonly #present = new Set<string>();
  /** Work on one volume is done one after the other. */
  readonly #queue = new KeyedQueue();

  constructor(world: SimulatedWorld, hostBytes: bigint, check: CheckTemplate, info: PluginInfo) {
    this.#world = world;
    this.#hostBytes = hostBytes;
    this.#check = check;
    this.info = info;
  }

  async capabilities(): Promise<readonly StorageCapabilities[]> {
    return this.#world.hosts.map((host) => ({
      host,
      totalBytes: this.#hostBytes,
      freeBytes: this.#hostBytes,
    }));
  }

  ensureTemplate(
    host: string,
    image: TemplateImage,
    { progress }: { progress(presentBytes: number): void },
  ): Promise<void> {
    return this.#world.act(async () => {
      if (!this.#present.has(key(host, image.sha256))) await this.#check(image);
      this.#present.add(key(host, image.sha256));
      progress(image.sizeBytes);
    });
  }

  createVolume(host: string, spec: VolumeSpec): Promise<StoredVolume> {
    return this.#act(host, spec.volumeUid, async () => {
      const known = await this.#world.volumes.get(key(host, spec.volumeUid));
      if (known !== undefined) return message(asAsked(known.value, spec));
      const stored = await this.#world.volumes.insert(key(host, spec.volumeUid), { host, ...spec });
      return message(stored.value);
    });
  }

  deleteVolume(host: string, volumeUid: string): Promise<void> {
    return this.#act(host, volumeUid, async () => {
      await this.#world.volumes.remove(key(host, volumeUid)).catch((error: unknown) => {
        if (!(error instanceof NotFound || error instanceof Conflict)) throw error;
      });
    });
  }

  async getVolume(host: string, volumeUid: string): Promise<StoredVolume> {
    const stored = await this.#world.volumes.get(key(host, volumeUid));
    if (stored === undefined) throw notFound('volumes', volumeUid);
    return message(stored.value);
  }

  async listVolumes(host: string): Promise<readonly StoredVolume[]> {
    return (await this.#world.all(this.#world.volumes, host)).map(message);
  }

  /** Does a deed on a volume with the latency and the faults asked for. */
  #act<T>(host: string, volumeUid: string, deed: () => Promise<T>): Promise<T> {
    return this.#queue.run(key(host, volumeUid), () => this.#world.act(deed));
  }

  /** Records are whole or not there. */
  recover(): Promise<number> {
    return Promise.resolve(0);
  }
}

function asAsked(volume: SimulatedVolume, spec: VolumeSpec): SimulatedVolume {
  if (volume.sizeBytes === spec.sizeBytes && volume.templateSha256 === spec.templateSha256) return volume;
  throw new Precondition(
    'STATE_FORBIDS',
    `volume ${spec.volumeUid} is there already with another size or template`,
  );
}

function message({ host, volumeUid, sizeBytes, templateSha256 }: SimulatedVolume): StoredVolume {
  return { volumeUid, host, sizeBytes: BigInt(sizeBytes), usedBytes: 0n, templateSha256, managed: true };
}
