/**
 * Steps on the VM's root volume: its record, its image, its disk. The record says what is wanted before storage is
 * asked, and what is there after it answered; so whatever a crash interrupts can be found and finished. If the host
 * cannot be asked to remove a disk, the record stays `expunging`: the debt is paid when the host is back.
 */
import { AlreadyExists, Conflict, NotFound, touched, Unavailable } from '@nephos/service';
import type { Stored } from '@nephos/store';
import type { Vm } from '../domain/vm/vm.ts';
import { moveVolume, type Volume, type VolumeState } from '../domain/volume/volume.ts';
import { placed } from './machine.ts';
import { isUnreachable, type Operation } from './operation.ts';

const callMs = 60_000;
const imageMs = 30 * 60_000;
const sequences = { create: 1, remove: 2, undoCreate: 101 };

/** Writes the volume's record; its uid was minted with the VM. */
export async function allocateVolume(operation: Operation): Promise<void> {
  const { volumes, clock } = operation.deps;
  await operation.job.step(
    'volume',
    async () => {
      const vm = await operation.vm();
      try {
        await volumes.insert(vm.rootVolumeUid, allocated(vm, clock.now().toISOString()), { fresh: true });
      } catch (error) {
        if (!(error instanceof AlreadyExists)) throw error;
      }
    },
    {
      undo: async () => {
        const vm = await operation.vm();
        if (vm.phase === 'creating') await dropRecord(operation, vm.rootVolumeUid);
      },
    },
  );
}

function allocated(vm: Vm, now: string): Volume {
  const { owner, zone, displayName } = vm.header;
  return {
    header: {
      uid: vm.rootVolumeUid,
      displayName,
      owner,
      zone,
      labels: {},
      annotations: {},
      createTime: now,
      updateTime: now,
    },
    kind: 'root',
    state: 'allocated',
    sizeBytes: vm.spec.rootVolumeBytes,
    template: vm.spec.template,
    host: `hosts/${placed(vm)}`,
    vm: `vms/${vm.header.uid}`,
  };
}

/** Has the image brought to the host, once a host; shows how far it is. */
export async function ensureImage(operation: Operation): Promise<void> {
  const { job, deps } = operation;
  await job.step(
    'template',
    async ({ signal }) => {
      const vm = await operation.vm();
      const { image, spec } = vm;
      const { client, host } = await deps.links.storage(placed(vm));
      const request = {
        host,
        template: spec.template,
        sha256: image.sha256,
        sizeBytes: BigInt(image.sizeBytes),
        format: image.format,
      };
      for await (const { presentBytes, complete } of client.ensureTemplate(request, { signal })) {
        if (complete) return;
        const share = Number(presentBytes) / Math.max(1, image.sizeBytes);
        job.progress(20 + 40 * share, `bringing the image to the host: ${Math.floor(100 * share)} %`);
      }
      throw new Unavailable('STORAGE_FAILED', 'the host ended before the image was whole');
    },
    { timeoutMs: imageMs },
  );
}

/** Makes the disk. */
export async function createDisk(operation: Operation): Promise<void> {
  const { deps } = operation;
  await operation.job.step(
    'disk',
    async ({ signal }) => {
      const vm = await operation.vm();
      if ((await deps.volumes.get(vm.rootVolumeUid))?.value.state === 'ready') return;
      if (!(await setState(operation, vm.rootVolumeUid, 'creating'))) throw recordGone(vm.rootVolumeUid);
      const { client, host } = await deps.links.storage(placed(vm));
      await client.createVolume(
        {
          fence: operation.fence(vm.rootVolumeUid, sequences.create),
          host,
          volumeUid: vm.rootVolumeUid,
          sizeBytes: BigInt(vm.spec.rootVolumeBytes),
          templateSha256: vm.image.sha256,
        },
        { signal, deadlineMs: callMs },
      );
      await setState(operation, vm.rootVolumeUid, 'ready');
    },
    {
      undo: async () => {
        const vm = await operation.vm();
        if (vm.phase === 'creating') await undoDisk(operation, vm);
      },
    },
  );
}

/** Somebody else has undone the creation meanwhile: a disk made now would belong to nobody. */
function recordGone(volumeUid: string): Conflict {
  return new Conflict('LEASE_LOST', `volumes/${volumeUid} has no record any more`);
}

/** Asks the host even if no disk was made yet: from then on it refuses an executor that lost the job and is late. */
async function undoDisk(operation: Operation, vm: Vm): Promise<void> {
  if (!(await operation.deps.volumes.get(vm.rootVolumeUid))) return;
  try {
    await removeDisk(operation, placed(vm), vm.rootVolumeUid, { sequence: sequences.undoCreate });
  } catch (error) {
    if (!isUnreachable(error)) throw error;
    operation.job.annotate(
      'the host cannot be asked to remove the disk: it is removed when the host is back',
    );
  }
}

/** Removes the disk from its host, saying so before and after. Removed already is success. */
export async function removeDisk(
  operation: Operation,
  hostUid: string,
  volumeUid: string,
  options: { readonly sequence?: number; readonly signal?: AbortSignal } = {},
): Promise<void> {
  const { deps } = operation;
  if ((await deps.volumes.get(volumeUid))?.value.state === 'expunged') return;
  await setState(operation, volumeUid, 'expunging');
  const { client, host } = await deps.links.storage(hostUid);
  const fence = operation.fence(volumeUid, options.sequence ?? sequences.remove);
  await client.deleteVolume(
    { fence, host, volumeUid },
    { ...(options.signal && { signal: options.signal }), deadlineMs: callMs },
  );
  await setState(operation, volumeUid, 'expunged');
}

/** Removes the record of a volume of which nothing is left on storage. */
export async function dropRecord(operation: Operation, volumeUid: string): Promise<void> {
  const { volumes } = operation.deps;
  const stored = await volumes.get(volumeUid);
  if (!stored || !(stored.value.state === 'allocated' || stored.value.state === 'expunged')) return;
  await volumes.remove(volumeUid).catch((error: unknown) => {
    if (!(error instanceof NotFound)) throw error;
  });
}

/** Moves the volume; a volume without a record is success. */
export async function setState(
  operation: Operation,
  volumeUid: string,
  state: VolumeState,
): Promise<Stored<Volume> | undefined> {
  const { volumes, clock } = operation.deps;
  const current = await volumes.get(volumeUid);
  if (!current) return undefined;
  return await volumes.modify(volumeUid, (volume) => {
    const moved = moveVolume(volume, state);
    return moved === volume ? undefined : { ...moved, header: touched(moved.header, clock) };
  });
}
