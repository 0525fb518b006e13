/** A component outside the platform lives on events alone, over its own restarts and the broker's. */
import { expect, test } from '@jest/globals';
import { VmStatus_State as State } from '@nephos/proto/nephos/orchestration/v1/vm';
import { judge, layGround, nameOf, startPlatform, succeeded, until } from '@nephos/testing';
import { startUsageMeter, type UsageLedger } from './outside/usage-meter.ts';

test('a usage meter knows what ran, for how long and for whom', async () => {
  await using platform = await startPlatform();
  const { api, nats } = platform;
  const { zone, template } = await layGround(platform);
  const deploy = async (owner: string, vcpus: number): Promise<string> => {
    const header = { displayName: `${owner}-vm`, zone, owner };
    await succeeded(
      api,
      await api.vms.createVm({ vm: { header, spec: { vcpus, memoryBytes: 2n ** 27n, template } } }),
    );
    return nameOf((await api.vms.listVms({ filter: `owner = "${owner}"` })).vms[0]);
  };

  const ledger: UsageLedger = {};
  const first = await startUsageMeter(nats.url, 'meter', ledger);
  const anns = await deploy('ann', 1);
  await first[Symbol.asyncDispose]();
  const bobs = await deploy('bob', 2);
  await succeeded(api, await api.vms.stopVm({ name: anns }));
  await nats.kill();
  await succeeded(api, await api.vms.startVm({ name: anns }));
  await using _second = await startUsageMeter(nats.url, 'meter', ledger);
  await nats.restart();
  await succeeded(api, await api.vms.expungeVm({ name: bobs }));

  const replayed: UsageLedger = {};
  await using _replay = await startUsageMeter(nats.url, 'replay', replayed);
  const [annsUid = '', bobsUid = ''] = [anns, bobs].map((name) => name.slice('vms/'.length));
  const metered = ({ [annsUid]: ann, [bobsUid]: bob }: UsageLedger) =>
    ann?.runningSince !== undefined && ann.ranMs > 0 && bob !== undefined && bob.runningSince === undefined;
  await until(async () => metered(ledger) && metered(replayed));
  expect((await api.vms.getVm({ name: anns })).status?.state).toBe(State.RUNNING);
  expect(ledger[annsUid]).toMatchObject({ owner: 'ann', vcpus: 1 });
  expect(ledger[bobsUid]).toMatchObject({ owner: 'bob', vcpus: 2, ranMs: expect.any(Number) });

  const { seen, problems } = await judge(platform);
  expect(problems).toEqual([]);
  const last = (uid: string) =>
    Math.max(...seen.filter((event) => event.uid === uid).map(({ sequence }) => sequence));
  await until(async () =>
    [ledger, replayed].every((each) => [annsUid, bobsUid].every((uid) => each[uid]?.sequence === last(uid))),
  );
  expect(replayed).toEqual(ledger);
});
