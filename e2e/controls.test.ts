/**
 * Proof that the proofs can fail: with the fence or the dedup taken out, and with events that went astray, the oracle
 * says so. With them in place it says nothing about the same course of things.
 */
import { describe, expect, test } from '@jest/globals';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { natsOptions } from '@nephos/events/testing';
import { FenceGuard } from '@nephos/plugin';
import { Power, VmStatus_State as State } from '@nephos/proto/nephos/orchestration/v1/vm';
import { MachineObservation_State as Seen } from '@nephos/proto/nephos/plugin/v1/hypervisor';
import {
  faultsOf,
  finished,
  judge,
  judgeEvents,
  layGround,
  lookAtWorld,
  nameOf,
  type Platform,
  readEvents,
  startPlatform,
  succeeded,
  until,
} from '@nephos/testing';
import { admitAll, guardedAgent, HoldingGuard, type OpenGuard } from './support/guarded-agent.ts';

async function deploy(
  { api }: Platform,
  zone: string,
  template: string,
  desiredPower: Power,
): Promise<string> {
  const spec = { vcpus: 1, memoryBytes: 2n ** 27n, template, desiredPower };
  await succeeded(api, await api.vms.createVm({ vm: { header: { displayName: 'vm', zone }, spec } }));
  return nameOf((await api.vms.listVms({})).vms[0]);
}

describe('a start that was given up and reaches the host late', () => {
  /** Returns what the oracle says once it has arrived, while nobody is there to clean up after it. */
  async function zombieStart(open: OpenGuard): Promise<{ fence: string; faults: string[] }> {
    let guard: HoldingGuard | undefined;
    const agent = guardedAgent(async (store, clock) => (guard = new HoldingGuard(await open(store, clock))));
    await using platform = await startPlatform({ definitions: { 'host-agent': agent } });
    const { api, services } = platform;
    const { zone, template } = await layGround(platform);
    const name = await deploy(platform, zone, template, Power.OFF);
    if (!guard) throw new Error('the agent was not started');

    const held = guard.hold(name.slice('vms/'.length));
    const start = await api.vms.startVm({ name });
    await held;
    await api.operations.cancelOperation({ name: start.name });
    expect((await finished(api, start)).result?.$case).toBe('error');
    expect((await api.vms.getVm({ name })).status?.state).toBe(State.STOPPED);
    // Whoever comes next holds the VM by a newer lease.
    await succeeded(api, await api.vms.startVm({ name }));
    await succeeded(api, await api.vms.stopVm({ name, force: true }));
    const before = await lookAtWorld(api);
    expect(faultsOf(before)).toEqual([]);

    await services.orchestrator.stop();
    const fence = await guard.release();
    const host = (await api.hypervisor.getCapabilities({})).hosts[0]?.host ?? '';
    const machines = await until(async () => {
      const { observations } = await api.hypervisor.listMachines({ host });
      return (
        (fence === 'refused' || observations.some(({ state }) => state === Seen.RUNNING)) && observations
      );
    });
    return { fence, faults: faultsOf({ ...before, machines }) };
  }

  test('is refused by the fence, and the world stays in order', async () => {
    expect(await zombieStart((store, clock) => FenceGuard.open(store, clock))).toEqual({
      fence: 'refused',
      faults: [],
    });
  });

  test('runs the machine where there is no fence, and the oracle says so', async () => {
    const { fence, faults } = await zombieStart(() => Promise.resolve(admitAll));
    expect(fence).toBe('admitted');
    expect(faults).toEqual([expect.stringContaining('its machine runs')]);
  });
});

describe('events that go astray', () => {
  test('a repeat that the broker took for new is dropped by its sequence; without that the oracle says so', async () => {
    await using platform = await startPlatform();
    const { zone, template } = await layGround(platform);
    const name = await deploy(platform, zone, template, Power.ON);
    const connection = await connect(natsOptions(platform.nats));
    try {
      const subject = `nephos.v1.*.*.vm.${name.slice('vms/'.length)}`;
      const manager = await jetstreamManager(connection);
      const { seen, counters, problems } = await judge(platform);
      expect(problems).toEqual([]);

      const last = await manager.streams.getMessage('NEPHOS_EVENTS', { last_by_subj: subject });
      if (!last) throw new Error('no event of the VM');
      await jetstream(connection).publish(last.subject, last.data, {
        msgID: 'again, after the broker forgot',
      });
      const repeated = await readEvents(platform.nats);
      expect(repeated).toHaveLength(seen.length + 1);
      expect(judgeEvents(repeated, counters).problems).toEqual([]);
      expect(judgeEvents(repeated, counters, { dedup: false }).problems).toContainEqual(
        expect.stringContaining('came twice'),
      );

      await manager.streams.deleteMessage('NEPHOS_EVENTS', last.seq - 1);
      const holed = judgeEvents(await readEvents(platform.nats), counters);
      expect(holed.problems).toEqual([expect.stringContaining('lost')]);
    } finally {
      await connection.close();
    }
  });
});
