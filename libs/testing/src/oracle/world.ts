/**
 * What must hold of a platform at rest, asked of the services themselves: every operation over, no VM twice, what
 * runs is what is shown, no room, machine or volume that nobody accounts for.
 */
import { type Job, JobState } from '@nephos/proto/nephos/jobs/v1/jobs';
import { VmStatus_State as State, type Vm } from '@nephos/proto/nephos/orchestration/v1/vm';
import {
  type MachineObservation,
  MachineObservation_State as Seen,
} from '@nephos/proto/nephos/plugin/v1/hypervisor';
import type { PlatformApi } from '../api.ts';

const over: ReadonlySet<number> = new Set([JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED]);
const runs: ReadonlySet<number> = new Set([Seen.RUNNING, Seen.PAUSED, Seen.UNKNOWN]);

export interface World {
  readonly jobs: readonly Job[];
  readonly vms: readonly Vm[];
  /** Machines that the agent holds, on any of its hosts. */
  readonly machines: readonly MachineObservation[];
  /** Uids of volumes in storage, and of volumes on record. */
  readonly stored: readonly string[];
  readonly recorded: readonly string[];
  /** VMs that each host claims to hold. */
  readonly vmCounts: ReadonlyMap<string, number>;
}

/** Reads it; all of it, page by page. */
export async function lookAtWorld(api: PlatformApi): Promise<World> {
  const { hosts } = await api.hosts.listHosts({ pageSize: 500 });
  const agents = new Map<string, Agent>();
  for (const agent of api.agents) agents.set((await agent.hypervisor.getCapabilities({})).agentId, agent);
  const there = hosts.flatMap(({ agentId, agentHost: host }) => {
    const agent = agents.get(agentId);
    return agent === undefined ? [] : [{ agent, host }];
  });
  const machines = await Promise.all(there.map(({ agent, host }) => machinesOn(agent, host)));
  const stored = await Promise.all(there.map(({ agent, host }) => volumesOn(agent, host)));
  const volumes = await pages(
    (page) => api.volumes.listVolumes(page),
    ({ volumes: items }) => items,
  );
  return {
    jobs: await pages(
      (page) => api.jobs.listJobs(page),
      ({ jobs }) => jobs,
    ),
    vms: await pages(
      (page) => api.vms.listVms({ ...page, showDeleted: true }),
      ({ vms }) => vms,
    ),
    machines: machines.flat(),
    stored: stored.flat(),
    recorded: volumes.map(({ header }) => header?.uid ?? ''),
    vmCounts: new Map(hosts.map(({ header, status }) => [header?.name ?? '', status?.vmCount ?? 0])),
  };
}

/** What is wrong with it, a line each. Pure. */
export function faultsOf(world: World): string[] {
  return [...jobFaults(world), ...machineFaults(world), ...volumeFaults(world), ...roomFaults(world)];
}

function jobFaults({ jobs }: World): string[] {
  return jobs
    .filter(({ state }) => !over.has(state))
    .map(({ header, type, state }) => `${header?.name} (${type}) has not ended: state ${state}`);
}

function machineFaults({ vms, machines }: World): string[] {
  const faults: string[] = [];
  const running = machines.filter(({ state }) => runs.has(state));
  const byVm = Map.groupBy(running, ({ vmUid }) => vmUid);
  for (const [vmUid, several] of byVm) {
    if (several.length > 1) faults.push(`vms/${vmUid} runs ${several.length} times`);
    if (!vms.some(({ header }) => header?.uid === vmUid))
      faults.push(`a machine runs for vms/${vmUid}, which is gone`);
  }
  for (const { header, status } of vms) {
    const uid = header?.uid ?? '';
    const shown = status?.state === State.RUNNING;
    if (shown !== byVm.has(uid))
      faults.push(
        `vms/${uid} is shown in state ${status?.state}, its machine ${shown ? 'does not run' : 'runs'}`,
      );
    if (status?.operation !== '') faults.push(`vms/${uid} is still held by ${status?.operation}`);
  }
  for (const { vmUid } of machines) {
    if (!vms.some(({ header }) => header?.uid === vmUid))
      faults.push(`a machine is left of vms/${vmUid}, which is gone`);
  }
  return faults;
}

function volumeFaults({ stored, recorded }: World): string[] {
  return [
    ...stored
      .filter((uid) => !recorded.includes(uid))
      .map((uid) => `volume ${uid} is in storage and on no record`),
    ...recorded
      .filter((uid) => !stored.includes(uid))
      .map((uid) => `volumes/${uid} is on record and in no storage`),
  ];
}

function roomFaults({ vms, vmCounts }: World): string[] {
  return [...vmCounts].flatMap(([host, count]) => {
    const placed = vms.filter(({ status }) => status?.host === host).length;
    return placed === count ? [] : [`${host} holds room for ${count} VMs, ${placed} are placed there`];
  });
}

type Agent = PlatformApi['agents'][number];

async function machinesOn({ hypervisor }: Agent, host: string): Promise<MachineObservation[]> {
  return await pages(
    (page) => hypervisor.listMachines({ host, ...page }),
    ({ observations }) => observations,
  );
}

async function volumesOn({ storage }: Agent, host: string): Promise<string[]> {
  const all = await pages(
    (page) => storage.listVolumes({ host, ...page }),
    ({ volumes }) => volumes,
  );
  return all.map(({ volumeUid }) => volumeUid);
}

interface Page {
  readonly pageSize: number;
  readonly pageToken: string;
}

async function pages<R extends { readonly nextPageToken: string }, T>(
  ask: (page: Page) => Promise<R>,
  items: (answer: R) => readonly T[],
): Promise<T[]> {
  const all: T[] = [];
  let pageToken = '';
  do {
    const answer = await ask({ pageSize: 500, pageToken });
    all.push(...items(answer));
    pageToken = answer.nextPageToken;
  } while (pageToken !== '');
  return all;
}
