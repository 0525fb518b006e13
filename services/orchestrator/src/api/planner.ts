/**
 * DeploymentPlannerService over the planner in the tree: the same contract that a planner in another process
 * serves, and the way to ask why no host fits without creating anything.
 */
import type { DeploymentPlannerServiceDefinition } from '@nephos/proto/nephos/plugin/v1/planner';
import { type FieldViolation, type Implementation, parseResourceName, refuseFields } from '@nephos/service';
import type { Planner } from '../adapters/placement.ts';
import { filters } from '../domain/planner/filters.ts';
import { scorers } from '../domain/planner/scorers.ts';

const defaultCandidates = 3;
const mostCandidates = 100;

function hostUid(name: string, field: string): string {
  return parseResourceName('hosts', name, field);
}

function negatives(amounts: Readonly<Record<string, number>>): FieldViolation[] {
  const wrong = Object.entries(amounts).filter(([, amount]) => amount < 0);
  return wrong.map(([field]) => ({ field, description: 'must not be negative' }));
}

export function plannerApi(
  planner: Planner,
  version: string,
): Implementation<typeof DeploymentPlannerServiceDefinition> {
  return {
    getInfo: async () => ({
      info: { name: 'spread', version, contractVersions: ['v1'], configSchema: '{}' },
    }),
    getCapabilities: async () => ({
      filters: filters.map(({ reason }) => reason),
      scorers: scorers.map(({ name }) => name),
    }),
    planDeployment: async (request) => {
      const { vmUid, zone, architecture, onlyHost, vcpus, maxCandidates } = request;
      const needs = { vcpus, memoryBytes: Number(request.memoryBytes), diskBytes: Number(request.diskBytes) };
      refuseFields(negatives({ vcpus, memory_bytes: needs.memoryBytes, disk_bytes: needs.diskBytes }));
      const plan = await planner({
        vmUid,
        zone,
        architecture,
        needs,
        ...(onlyHost !== '' && { onlyHost: hostUid(onlyHost, 'only_host') }),
        excludedHosts: new Set(request.excludedHosts.map((name) => hostUid(name, 'excluded_hosts'))),
        maxCandidates: Math.min(maxCandidates > 0 ? maxCandidates : defaultCandidates, mostCandidates),
      });
      return {
        candidates: plan.candidates.map(({ hostUid: uid, score }) => ({ host: `hosts/${uid}`, score })),
        rejections: [...plan.rejections],
        considered: plan.considered,
        closestMiss: plan.closestMiss,
      };
    },
  };
}
