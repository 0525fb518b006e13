/** What nobody should send: each is refused with a stable reason that says what is wrong, and leaves nothing. */
import { truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Template_State as TemplateState } from '@nephos/proto/nephos/template/v1/template';
import { type NephosError, newUid } from '@nephos/service';
import {
  emptyQcow2,
  finished,
  type Ground,
  judge,
  layGround,
  nameOf,
  type Platform,
  startPlatform,
  succeeded,
} from '@nephos/testing';

let platform: Platform;
let ground: Ground;
let vm: string;

beforeAll(async () => {
  platform = await startPlatform({
    hosts: 3,
    env: { NEPHOS_SIMULATED_CPUS: '8', NEPHOS_SIMULATED_MEMORY: '16GiB' },
  });
  ground = await layGround(platform);
  await succeeded(platform.api, await create({ displayName: 'there' }));
  vm = nameOf((await platform.api.vms.listVms({})).vms[0]);
});

afterAll(async () => {
  try {
    expect((await judge(platform)).problems).toEqual([]);
  } finally {
    await platform[Symbol.asyncDispose]();
  }
});

function create(header: object, spec: object = {}) {
  return platform.api.vms.createVm({
    vm: {
      header: { displayName: newUid(), zone: ground.zone, ...header },
      spec: { vcpus: 1, memoryBytes: 2n ** 27n, template: ground.template, ...spec },
    },
  });
}

/** All that could have been left by a request. */
async function records(): Promise<unknown> {
  const { api } = platform;
  const { vms } = await api.vms.listVms({ pageSize: 500, showDeleted: true });
  const { volumes } = await api.volumes.listVolumes({ pageSize: 500 });
  const { jobs } = await api.jobs.listJobs({ pageSize: 500 });
  const { templates } = await api.templates.listTemplates({ pageSize: 500 });
  const { zones } = await api.zones.listZones({ pageSize: 500 });
  return [vms, volumes, jobs, templates, zones];
}

interface Case {
  readonly what: string;
  readonly ask: () => Promise<unknown>;
  readonly kind: string;
  readonly reason: string;
  /** In the error's field violations, where it is about a field. */
  readonly field?: string;
}

const invalid = { kind: 'invalid', reason: 'FIELD_INVALID' };
const cases: readonly Case[] = [
  {
    what: 'an unknown zone',
    ask: () => create({ zone: `zones/${newUid()}` }),
    ...invalid,
    field: 'vm.header.zone',
  },
  {
    what: 'a zone that is no name',
    ask: () => create({ zone: '../etc' }),
    ...invalid,
    field: 'vm.header.zone',
  },
  {
    what: 'an unknown template',
    ask: () => create({}, { template: `templates/${newUid()}` }),
    ...invalid,
    field: 'vm.spec.template',
  },
  {
    what: 'a duplicate name',
    ask: () => create({ displayName: 'there' }),
    kind: 'already-exists',
    reason: 'DISPLAY_NAME_TAKEN',
  },
  {
    what: 'a duplicate zone name',
    ask: () => platform.api.zones.createZone({ zone: { header: { displayName: 'ground' } } }),
    kind: 'already-exists',
    reason: 'DISPLAY_NAME_TAKEN',
  },
  { what: 'no CPU', ask: () => create({}, { vcpus: -1 }), ...invalid, field: 'vm.spec.vcpus' },
  {
    what: 'negative memory',
    ask: () => create({}, { memoryBytes: -1n }),
    ...invalid,
    field: 'vm.spec.memory_bytes',
  },
  {
    what: 'a stale etag',
    ask: () => platform.api.vms.deleteVm({ name: vm, etag: 'stale' }),
    kind: 'conflict',
    reason: 'ETAG_MISMATCH',
  },
  {
    what: 'a filter that does not parse',
    ask: () => platform.api.vms.listVms({ filter: 'owner = = "a"' }),
    kind: 'invalid',
    reason: 'FILTER_INVALID',
  },
  {
    what: 'a filter by an unknown field',
    ask: () => platform.api.vms.listVms({ filter: 'nonsense = "a"' }),
    kind: 'invalid',
    reason: 'FILTER_INVALID',
  },
  {
    what: 'a page token of nobody',
    ask: () => platform.api.vms.listVms({ pageToken: 'AAAA' }),
    kind: 'invalid',
    reason: 'PAGE_TOKEN_INVALID',
  },
  {
    what: 'a page token of another query',
    ask: async () => {
      const { nextPageToken } = await platform.api.hosts.listHosts({ pageSize: 1 });
      return platform.api.hosts.listHosts({ pageToken: nextPageToken, filter: 'display_name = "x"' });
    },
    kind: 'invalid',
    reason: 'PAGE_TOKEN_INVALID',
  },
  {
    what: 'a request of 10 MB',
    ask: () => create({ annotations: { text: 'x'.repeat(10 * 1000 * 1000) } }),
    kind: 'exhausted',
    reason: 'MESSAGE_TOO_LARGE',
  },
  {
    what: 'an unknown field in update_mask',
    ask: () => platform.api.vms.updateVm({ vm: { header: { name: vm } }, updateMask: ['spec.colour'] }),
    kind: 'invalid',
    reason: 'UPDATE_MASK_INVALID',
  },
  {
    what: 'a field in update_mask that cannot be changed',
    ask: () => platform.api.vms.updateVm({ vm: { header: { name: vm } }, updateMask: ['spec.vcpus'] }),
    kind: 'invalid',
    reason: 'UPDATE_MASK_INVALID',
  },
  {
    what: 'a VM that is not there',
    ask: () => platform.api.vms.startVm({ name: `vms/${newUid()}` }),
    kind: 'not-found',
    reason: 'RESOURCE_NOT_FOUND',
  },
  {
    what: 'an operation that is not there',
    ask: () => platform.api.operations.getOperation({ name: `operations/${newUid()}` }),
    kind: 'not-found',
    reason: 'RESOURCE_NOT_FOUND',
  },
];

test.each(cases)('$what: $reason', async ({ ask, kind, reason, field }) => {
  const before = await records();
  const error = await ask().then(
    () => undefined,
    (thrown: NephosError) => thrown,
  );
  expect(error).toMatchObject({ kind, reason });
  expect(error?.message).toMatch(/\w+ \w+/);
  // What is too large to be read is refused before anybody knows whose it is.
  if (reason !== 'MESSAGE_TOO_LARGE')
    expect(error?.details.metadata?.['requestId']).toMatch(/^[0-9a-f-]{36}$/);
  if (field !== undefined)
    expect(error?.details.fields?.map((violation) => violation.field)).toContain(field);
  expect(await records()).toEqual(before);
});

test('a VM larger than any host is refused with the reasons counted, and leaves nothing', async () => {
  const before = await records();
  await expect(create({ displayName: 'huge' }, { vcpus: 16, memoryBytes: 2n ** 36n })).rejects.toMatchObject({
    kind: 'exhausted',
    reason: 'NO_HOST_FITS',
    message: expect.stringMatching(/of 3 .*rejected for: 3 memory/),
    details: { metadata: { considered: '3', 'rejected.memory': '3' } },
  });
  expect(await records()).toEqual(before);
});

describe('an image', () => {
  const images: readonly { what: string; reason: string; make: (file: string) => Promise<void> }[] = [
    {
      what: 'with a backing file',
      reason: 'IMAGE_HAS_BACKING_FILE',
      make: (file) => writeFile(file, emptyQcow2({ backingFile: '/etc/shadow' })),
    },
    {
      what: 'with a data file',
      reason: 'IMAGE_HAS_DATA_FILE',
      make: (file) =>
        writeFile(
          file,
          emptyQcow2({ incompatibleFeatures: 4n, extension: { type: 0x44415441, text: '/etc/shadow' } }),
        ),
    },
    {
      what: 'cut within its header',
      reason: 'IMAGE_TRUNCATED',
      make: async (file) => {
        await writeFile(file, emptyQcow2());
        await truncate(file, 60);
      },
    },
    {
      what: 'cut within its tables',
      reason: 'IMAGE_TRUNCATED',
      make: async (file) => {
        await writeFile(file, emptyQcow2());
        await truncate(file, 2 * 65_536);
      },
    },
    {
      what: 'of a disk beyond all bounds',
      reason: 'IMAGE_TOO_LARGE',
      make: (file) => writeFile(file, emptyQcow2({ virtualBytes: 2 ** 45 })),
    },
  ];

  test.each(images)('$what: $reason, and nothing is kept', async ({ what, reason, make }) => {
    const { api, imports } = platform;
    const file = path.join(imports, `${what.replaceAll(' ', '-')}.qcow2`);
    await make(file);
    const header = { displayName: what, zone: ground.zone };
    const asked = api.templates.createTemplate({
      template: { header },
      source: { source: { $case: 'localFile', value: file } },
    });
    const refusal = await asked.then(
      async (operation) => {
        const { header: job, error } = await api.jobs.getJob({
          name: operation.name.replace('operations/', 'jobs/'),
        });
        return (await finished(api, operation)).result ?? [job, error];
      },
      (error: NephosError) => error.reason,
    );
    expect(refusal).toBe(reason);
    const { templates } = await api.templates.listTemplates({ filter: `display_name = "${what}"` });
    expect(templates.filter(({ state }) => state === TemplateState.READY)).toEqual([]);
  });

  test('outside of the folders that may be read: IMAGE_SOURCE_REFUSED', async () => {
    const source = { source: { $case: 'localFile' as const, value: '/etc/passwd' } };
    await expect(
      platform.api.templates.createTemplate({ template: { header: { displayName: 'passwd' } }, source }),
    ).rejects.toMatchObject({ kind: 'invalid', reason: 'IMAGE_SOURCE_REFUSED' });
  });
});
