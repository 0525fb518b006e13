/** What a VM needs of a host: as a claim, and as it is asked of a planner. Pure. */
import type { Amounts, PlanRequest } from '../planner/host-view.ts';
import type { Vm } from './vm.ts';

/** Everything the VM needs to run. */
export function needsOf({ spec }: Vm): Amounts {
  const { vcpus, memoryBytes, rootVolumeBytes } = spec;
  return { vcpus, memoryBytes, diskBytes: rootVolumeBytes };
}

export function roomFor(vm: Vm): Omit<PlanRequest, 'excludedHosts' | 'maxCandidates'> {
  return {
    vmUid: vm.header.uid,
    zone: vm.header.zone,
    needs: needsOf(vm),
    architecture: vm.image.architecture,
    ...(vm.spec.host !== '' && { onlyHost: vm.spec.host.slice('hosts/'.length) }),
  };
}
