/**
 * What every hypervisor driver must do, as jest tests over real gRPC: the in-tree ones pass it, and so must those
 * of others. `open` gives a driver whose host has the named volumes; `reopen` the same world after the agent's
 * process ended and began again.
 */
import { afterEach, describe, expect, test } from '@jest/globals';
import {
  MachineObservation_Cause as Cause,
  HypervisorServiceDefinition,
  type MachineObservation,
  type MachineSpec,
  MachineObservation_State as State,
} from '@nephos/proto/nephos/plugin/v1/hypervisor';
import { type Client, defineService, formatAddress, newUid, startService } from '@nephos/service';
import type { HypervisorDriver } from './drivers.ts';
import type { Guard } from './fence-guard.ts';
import { serveHypervisor } from './serve-hypervisor.ts';

/** A driver with all that its machines need. */
export interface DriverUnderTest {
  readonly driver: HypervisorDriver;
  readonly guard: Guard;
  /** Uid of a volume that a machine can start from. */
  volume(): Promise<string>;
  /** Ends the agent's hold and opens the same world anew; machines live through it. */
  reopen(): Promise<DriverUnderTest>;
  /** What the platform did not ask for. */
  happen(vmUid: string, what: 'guest-power-off' | 'crash'): Promise<void>;
  close(): Promise<void>;
}

const agentId = 'conformance';
const mebibyte = 1024n * 1024n;

interface Served {
  readonly client: Client<typeof HypervisorServiceDefinition>;
  readonly host: string;
  stop(): Promise<void>;
}

async function serve({ driver, guard }: DriverUnderTest): Promise<Served> {
  const leaving = new AbortController();
  const service = await startService(
    defineService({
      name: 'conformance',
      version: '0.0.0',
      config: {},
      start: async ({ server, clock, resources }) => {
        const parts = { driver, guard, clock, agentId, resources, draining: leaving.signal };
        server.add(HypervisorServiceDefinition, serveHypervisor(parts));
      },
    }),
    { env: { NEPHOS_LOG_LEVEL: 'silent', NEPHOS_DRAIN_DELAY: '0ms' } },
  );
  const client = service.context.clients.of(HypervisorServiceDefinition, formatAddress(service.address));
  const { hosts } = await client.getCapabilities({});
  return {
    client,
    host: hosts[0]?.host ?? '',
    stop: async () => {
      leaving.abort();
      await service.stop();
    },
  };
}

export function hypervisorConformance(name: string, open: () => Promise<DriverUnderTest>): void {
  describe(`hypervisor driver ${name}`, () => {
    let cleanups: (() => Promise<void>)[] = [];
    afterEach(async () => {
      for (const cleanup of cleanups.reverse()) await cleanup();
      cleanups = [];
    });

    async function begin() {
      const subject = await open();
      const served = await serve(subject);
      cleanups.push(
        () => subject.close(),
        () => served.stop(),
      );
      const vmUid = newUid();
      const machine: MachineSpec = {
        vmUid,
        incarnationUid: newUid(),
        generation: 1n,
        hostname: 'conformance',
        vcpus: 1,
        memoryBytes: 128n * mebibyte,
        disks: [{ volumeUid: await subject.volume(), readOnly: false }],
        pinned: {},
      };
      const fence = (generation: bigint, sequence = 1n) => ({
        entityUid: vmUid,
        generation,
        epoch: 1n,
        sequence,
      });
      return { subject, ...served, machine, vmUid, fence };
    }

    test('a machine starts once, is seen running, stops once, is forgotten; each repeat is success', async () => {
      const { client, host, machine, vmUid, fence } = await begin();
      const start = () => client.startMachine({ fence: fence(1n), host, machine });
      const [first, again] = await Promise.all([start(), start()]);
      expect(first.observation).toMatchObject({ state: State.RUNNING, managed: true, generation: 1n });
      expect(again.observation?.incarnationUid).toBe(machine.incarnationUid);
      const running = (await client.listMachines({ host })).observations.filter(
        (seen) => seen.vmUid === vmUid,
      );
      expect(running).toHaveLength(1);
      const stop = () =>
        client.stopMachine({ fence: fence(1n, 2n), host, vmUid, incarnationUid: machine.incarnationUid });
      const stopped = await stop();
      expect(stopped.observation).toMatchObject({ state: State.GONE, cause: Cause.REQUESTED });
      await stop();
      await client.removeMachine({ fence: fence(1n, 3n), host, vmUid });
      await client.removeMachine({ fence: fence(1n, 3n), host, vmUid });
      expect((await client.getMachine({ host, vmUid })).observation?.state).toBe(State.GONE);
    });

    test('a run that is over is not run again; another run forbids a new one', async () => {
      const { client, host, machine, vmUid, fence } = await begin();
      await client.startMachine({ fence: fence(1n), host, machine });
      const other = { ...machine, incarnationUid: newUid() };
      await expect(client.startMachine({ fence: fence(2n), host, machine: other })).rejects.toMatchObject({
        reason: 'STATE_FORBIDS',
      });
      const { incarnationUid } = machine;
      await client.stopMachine({ fence: fence(2n, 2n), host, vmUid, incarnationUid });
      const repeat = await client.startMachine({ fence: fence(2n, 3n), host, machine });
      expect(repeat.observation?.state).toBe(State.GONE);
      await client.removeMachine({ fence: fence(2n, 4n), host, vmUid });
    });

    test('a lower fence touches nothing, also after the agent came back', async () => {
      const { subject, client, host, machine, vmUid, fence } = await begin();
      await client.startMachine({ fence: fence(5n), host, machine });
      const { incarnationUid } = machine;
      const zombie = { fence: fence(4n, 9n), host, vmUid, incarnationUid };
      await expect(client.stopMachine(zombie)).rejects.toMatchObject({ reason: 'FENCED', kind: 'conflict' });
      const anew = await subject.reopen();
      const served = await serve(anew);
      cleanups.push(
        () => anew.close(),
        () => served.stop(),
      );
      await expect(served.client.stopMachine(zombie)).rejects.toMatchObject({ reason: 'FENCED' });
      const found = await served.client.getMachine({ host, vmUid });
      expect(found.observation).toMatchObject({ state: State.RUNNING, incarnationUid, managed: true });
      await served.client.stopMachine({ ...zombie, fence: fence(5n, 2n) });
      await served.client.removeMachine({ fence: fence(5n, 3n), host, vmUid });
    });

    test('a watcher sees the picture, then each change, also what nobody asked for', async () => {
      const { subject, client, host, machine, vmUid, fence } = await begin();
      await client.startMachine({ fence: fence(1n), host, machine });
      const watch = new AbortController();
      const seen: MachineObservation[] = [];
      const mine = Promise.withResolvers<void>();
      const ended = (async () => {
        for await (const message of client.watchObservations({}, { signal: watch.signal })) {
          const ours = message.observations.filter((each) => each.vmUid === vmUid);
          seen.push(...ours);
          if (message.snapshotComplete) mine.resolve();
          if (ours.some(({ state }) => state !== State.RUNNING)) return;
        }
      })();
      await mine.promise;
      expect(seen.at(-1)).toMatchObject({ state: State.RUNNING });
      await subject.happen(vmUid, 'crash');
      await ended;
      expect(seen.at(-1)).toMatchObject({ state: State.GONE, cause: Cause.CRASHED });
      watch.abort();
      await client.removeMachine({ fence: fence(1n, 2n), host, vmUid });
    });

    test('a guest that powers itself off is seen as that, not as a crash', async () => {
      const { subject, client, host, machine, vmUid, fence } = await begin();
      await client.startMachine({ fence: fence(1n), host, machine });
      await subject.happen(vmUid, 'guest-power-off');
      const { observation } = await client.getMachine({ host, vmUid });
      expect(observation).toMatchObject({ state: State.POWERED_OFF, cause: Cause.GUEST });
      const { incarnationUid } = machine;
      await client.stopMachine({ fence: fence(1n, 2n), host, vmUid, incarnationUid });
      await client.removeMachine({ fence: fence(1n, 3n), host, vmUid });
    });

    test('bad input is refused at the edge with its fields', async () => {
      const { client, host, machine, vmUid, fence } = await begin();
      const wrong = { ...machine, vcpus: 0, memoryBytes: 5n, hostname: 'not a label', disks: [] };
      await expect(client.startMachine({ fence: fence(1n), host, machine: wrong })).rejects.toMatchObject({
        kind: 'invalid',
        details: { fields: expect.arrayContaining([expect.objectContaining({ field: 'machine.vcpus' })]) },
      });
      await expect(
        client.startMachine({ fence: fence(1n), host: 'elsewhere', machine }),
      ).rejects.toMatchObject({
        kind: 'not-found',
      });
      await expect(client.startMachine({ host, machine })).rejects.toMatchObject({ kind: 'invalid' });
      expect((await client.getMachine({ host, vmUid })).observation?.state).toBe(State.GONE);
    });

    test('the host going down in order is remembered as that', async () => {
      const { subject, client, host, machine, vmUid, fence } = await begin();
      await client.startMachine({ fence: fence(1n), host, machine });
      await subject.driver.shutDownGuests(0);
      const anew = await subject.reopen();
      const served = await serve(anew);
      cleanups.push(
        () => anew.close(),
        () => served.stop(),
      );
      const { observation } = await served.client.getMachine({ host, vmUid });
      expect(observation).toMatchObject({ state: State.GONE, cause: Cause.HOST_SHUTDOWN });
      await served.client.removeMachine({ fence: fence(1n, 2n), host, vmUid });
    });
  });
}
