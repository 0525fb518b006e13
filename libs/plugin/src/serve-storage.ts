/** StorageService over a driver: checks at the edge, fences before side effects, progress of image transfers. */
import type {
  EnsureTemplateRequest,
  EnsureTemplateResponse,
  StorageServiceDefinition,
} from '@nephos/proto/nephos/plugin/v1/storage';
import { type DeepPartial, type Implementation, parseResourceName, refuseFields } from '@nephos/service';
import { checkHost, checkUids } from './checks.ts';
import type { StorageDriver, TemplateImage } from './drivers.ts';
import type { Guard } from './fence-guard.ts';
import { pageOf } from './pages.ts';

const sha256Form = /^[0-9a-f]{64}$/;
const largestVolume = 2 ** 46;
const largestImage = 2n ** 46n;
/** Progress is told after each so many bytes. */
const tellEveryBytes = 4 * 2 ** 20;

export interface StorageParts {
  readonly driver: StorageDriver;
  readonly guard: Guard;
  /** The hosts it serves. */
  readonly hosts: () => readonly { readonly host: string }[];
}

export function serveStorage({
  driver,
  guard,
  hosts,
}: StorageParts): Implementation<typeof StorageServiceDefinition> {
  const known = (host: string): void => checkHost(host, hosts());
  return {
    getInfo: async () => ({ info: driver.info }),
    getCapabilities: async () => ({ hosts: [...(await driver.capabilities())] }),
    ensureTemplate: (request, { signal }) => {
      known(request.host);
      return ensureTemplate(driver, request.host, imageOf(request), signal);
    },
    createVolume: async ({ fence, host, volumeUid, sizeBytes, templateSha256 }, call) => {
      known(host);
      checkUids({ volume_uid: volumeUid });
      const size = Number(sizeBytes);
      refuseFields([
        ...(size > 0 && size <= largestVolume
          ? []
          : [{ field: 'size_bytes', description: 'is out of bounds' }]),
        ...(templateSha256 === '' || sha256Form.test(templateSha256)
          ? []
          : [{ field: 'template_sha256', description: 'must be 64 lower-case hex digits, or empty' }]),
      ]);
      await guard.admit(fence, volumeUid);
      call.detach();
      return { volume: await driver.createVolume(host, { volumeUid, sizeBytes: size, templateSha256 }) };
    },
    deleteVolume: async ({ fence, host, volumeUid }, call) => {
      known(host);
      checkUids({ volume_uid: volumeUid });
      await guard.admit(fence, volumeUid);
      call.detach();
      await driver.deleteVolume(host, volumeUid);
      await guard.entityGone(fence, volumeUid);
      return {};
    },
    getVolume: async ({ host, volumeUid }) => {
      known(host);
      checkUids({ volume_uid: volumeUid });
      return { volume: await driver.getVolume(host, volumeUid) };
    },
    listVolumes: async (request) => {
      known(request.host);
      const all = await driver.listVolumes(request.host);
      const { items, nextPageToken } = pageOf(all, ({ volumeUid }) => volumeUid, request);
      return { volumes: items, nextPageToken };
    },
    recover: async () => ({ removed: await driver.recover() }),
  };
}

function imageOf({ template, sha256, sizeBytes, format }: EnsureTemplateRequest): TemplateImage {
  parseResourceName('templates', template, 'template');
  refuseFields([
    ...(sha256Form.test(sha256)
      ? []
      : [{ field: 'sha256', description: 'must be 64 lower-case hex digits' }]),
    ...(format === 'qcow2' || format === 'raw'
      ? []
      : [{ field: 'format', description: 'must be qcow2 or raw' }]),
    ...(sizeBytes > 0n && sizeBytes <= largestImage
      ? []
      : [{ field: 'size_bytes', description: 'is out of bounds' }]),
  ]);
  return { template, sha256, sizeBytes: Number(sizeBytes), format: format === 'raw' ? 'raw' : 'qcow2' };
}

async function* ensureTemplate(
  driver: StorageDriver,
  host: string,
  image: TemplateImage,
  signal: AbortSignal,
): AsyncGenerator<DeepPartial<EnsureTemplateResponse>> {
  let present = 0;
  let told = 0;
  let wake: () => void = () => undefined;
  let over = false;
  const work = driver
    .ensureTemplate(host, image, {
      signal,
      progress: (bytes) => {
        present = bytes;
        if (present - told >= tellEveryBytes) wake();
      },
    })
    .finally(() => {
      over = true;
      wake();
    });
  // Its failure is thrown by the await below; until then nobody looks at it.
  work.catch(() => undefined);
  while (!over) {
    await new Promise<void>((resolve) => {
      wake = resolve;
      if (over || present - told >= tellEveryBytes) resolve();
    });
    if (over) break;
    told = present;
    yield { presentBytes: BigInt(present) };
  }
  await work;
  yield { presentBytes: BigInt(image.sizeBytes), complete: true };
}
