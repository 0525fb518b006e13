/**
 * An agent that is told to stop its guests left those running that took longer than its own drain: it gave them 20 s
 * and was gone after 10. What does not go by itself is now cut off before the agent leaves.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from '@jest/globals';
import {
  HypervisorServiceDefinition,
  MachineObservation_State as State,
} from '@nephos/proto/nephos/plugin/v1/hypervisor';
import { StorageServiceDefinition } from '@nephos/proto/nephos/plugin/v1/storage';
import { formatAddress, newUid, startService } from '@nephos/service';
import { runningQemus } from '../src/adapters/qemu/processes.ts';
import { hostAgent } from '../src/service.ts';

test('a guest without a system, deaf to the power button, does not outlive an agent that stops its guests', async () => {
  const data = await mkdtemp(path.join(tmpdir(), 'nephos-deaf-'));
  const agent = await startService(hostAgent, {
    env: {
      NEPHOS_DATA: data,
      NEPHOS_LOG_LEVEL: 'silent',
      NEPHOS_HYPERVISOR: 'qemu',
      NEPHOS_AGENT_STOP_GUESTS: 'true',
      NEPHOS_AGENT_STOP_GRACE: '1h',
      NEPHOS_DRAIN_GRACE: '6s',
      NEPHOS_DRAIN_DELAY: '0s',
    },
  });
  const address = formatAddress(agent.address);
  const hypervisor = agent.context.clients.of(HypervisorServiceDefinition, address);
  const storage = agent.context.clients.of(StorageServiceDefinition, address);
  const host = (await hypervisor.getCapabilities({})).hosts[0]?.host ?? '';
  const [vmUid, volumeUid] = [newUid(), newUid()];
  const fence = (entityUid: string) => ({ entityUid, generation: 1n, epoch: 1n, sequence: 1n });
  await storage.createVolume({ fence: fence(volumeUid), host, volumeUid, sizeBytes: 2n ** 20n });
  const machine = {
    vmUid,
    incarnationUid: newUid(),
    generation: 1n,
    hostname: 'deaf',
    vcpus: 1,
    memoryBytes: 2n ** 26n,
  };
  const disks = [{ volumeUid }];
  const { observation } = await hypervisor.startMachine({
    fence: fence(vmUid),
    host,
    machine: { ...machine, disks },
  });
  expect(observation?.state).toBe(State.RUNNING);
  await agent.stop();
  expect((await runningQemus()).filter(({ uuid }) => uuid === vmUid)).toEqual([]);
  await rm(data, { recursive: true });
});
