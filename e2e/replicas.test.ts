/**
 * Two orchestrators at once, asked side by side: a request that reaches both is one request, a name is taken once over
 * both, room that one gave out the other does not give again.
 */
import { expect, test } from '@jest/globals';
import { VmServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/vm';
import { ZoneServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/zone';
import { NephosError, newUid } from '@nephos/service';
import { onMongo } from '@nephos/store/testing/on-mongo';
import { judge, layGround, nameOf, startPlatform, succeeded } from '@nephos/testing';

await onMongo((server) => {
  test('two orchestrators are one', async () => {
    // Each agent has one small host: 8 virtual CPUs to give at the standard overcommit.
    const env = { NEPHOS_SIMULATED_CPUS: '2' };
    await using platform = await startPlatform({ replicas: 2, store: server.fresh(), hosts: 1, env });
    const { api, clients } = platform;
    const { zone, template } = await layGround(platform);
    const addresses = platform.replicas.orchestrator.map(({ address }) => address);
    const vms = addresses.map((address) => clients.of(VmServiceDefinition, address));
    const zones = addresses.map((address) => clients.of(ZoneServiceDefinition, address));
    const spec = { vcpus: 1, memoryBytes: 2n ** 27n, template };
    const vm = (displayName: string) => ({ vm: { header: { displayName, zone }, spec } });

    // The same request fifty times over both: one operation, one VM.
    const requestId = newUid();
    const asked = await Promise.all(
      Array.from({ length: 50 }, async (_, at) => await vms[at % 2]?.createVm(vm('same'), { requestId })),
    );
    const names = new Set(asked.map((operation) => operation?.name));
    expect(names.size).toBe(1);
    await succeeded(api, { name: [...names][0] ?? '' });
    expect((await api.vms.listVms({})).vms).toHaveLength(1);

    // Two requests for one name: one has it, the other is refused and leaves nothing.
    for (let round = 0; round < 10; round += 1) {
      const both = await Promise.allSettled(vms.map((each) => each.createVm(vm(`name-${round}`))));
      const won = both.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
      const refused = both.flatMap((each) => (each.status === 'rejected' ? [each.reason] : []));
      expect(refused).toEqual([expect.objectContaining({ reason: 'DISPLAY_NAME_TAKEN' })]);
      for (const operation of won) await succeeded(api, operation);
    }
    expect((await api.vms.listVms({})).vms).toHaveLength(11);

    // Five places are left on both hosts together: of twelve that are asked for over both, five run.
    const many = await Promise.allSettled(
      Array.from({ length: 12 }, async (_, at) => {
        const operation = await vms[at % 2]?.createVm(vm(`many-${at}`));
        await succeeded(api, operation ?? { name: '' });
      }),
    );
    const failed = many.flatMap((each) => (each.status === 'rejected' ? [each.reason] : []));
    expect(many.length - failed.length).toBe(5);
    for (const error of failed)
      expect((error as NephosError).reason).toMatch(/NO_HOST_FITS|CAPACITY_EXHAUSTED/);
    const { vms: all } = await api.vms.listVms({ pageSize: 50 });
    for (const one of all) await succeeded(api, await api.vms.expungeVm({ name: nameOf(one) }));

    // Updates and deletions, repeated over both.
    const [update, removal] = [newUid(), newUid()];
    const made = await api.zones.createZone({ zone: { header: { displayName: 'other' } } });
    const changed = {
      zone: { header: { name: nameOf(made), etag: made.header?.etag ?? '' }, description: 'new' },
    };
    const answers = await Promise.all(
      Array.from(
        { length: 20 },
        async (_, at) => await zones[at % 2]?.updateZone(changed, { requestId: update }),
      ),
    );
    expect(new Set(answers.map((answer) => answer?.description))).toEqual(new Set(['new']));
    expect(new Set(answers.map((answer) => answer?.header?.etag)).size).toBe(1);
    await Promise.all(
      Array.from(
        { length: 20 },
        async (_, at) => await zones[at % 2]?.deleteZone({ name: nameOf(made) }, { requestId: removal }),
      ),
    );
    await expect(zones[0]?.deleteZone({ name: nameOf(made) })).rejects.toMatchObject({ kind: 'not-found' });

    expect((await judge(platform)).problems).toEqual([]);
  }, 600_000);
});
