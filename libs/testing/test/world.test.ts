/** The look at the world: each kind of disorder is seen, and order is not taken for disorder. */
import { expect, test } from '@jest/globals';
import { Job, JobState } from '@nephos/proto/nephos/jobs/v1/jobs';
import { VmStatus_State as State, Vm } from '@nephos/proto/nephos/orchestration/v1/vm';
import {
  MachineObservation,
  MachineObservation_State as Seen,
} from '@nephos/proto/nephos/plugin/v1/hypervisor';
import { faultsOf, type World } from '../src/index.ts';

const vm = (uid: string, state: (typeof State)[keyof typeof State], operation = ''): Vm =>
  Vm.fromPartial({ header: { uid, name: `vms/${uid}` }, status: { state, host: 'hosts/h', operation } });
const machine = (vmUid: string, state: (typeof Seen)[keyof typeof Seen]): MachineObservation =>
  MachineObservation.fromPartial({ vmUid, state });

const order: World = {
  jobs: [Job.fromPartial({ state: JobState.SUCCEEDED }), Job.fromPartial({ state: JobState.FAILED })],
  vms: [vm('a', State.RUNNING), vm('b', State.STOPPED)],
  machines: [machine('a', Seen.RUNNING), machine('b', Seen.GONE)],
  stored: ['1', '2'],
  recorded: ['2', '1'],
  vmCounts: new Map([['hosts/h', 2]]),
};

test('a world in order', () => {
  expect(faultsOf(order)).toEqual([]);
});

test.each<[string, Partial<World>, string]>([
  [
    'an operation that did not end',
    { jobs: [Job.fromPartial({ state: JobState.RUNNING })] },
    'has not ended',
  ],
  [
    'a VM that runs twice',
    { machines: [machine('a', Seen.RUNNING), machine('a', Seen.PAUSED)] },
    'runs 2 times',
  ],
  [
    'a machine of nobody',
    { machines: [...order.machines, machine('c', Seen.RUNNING)] },
    'for vms/c, which is gone',
  ],
  [
    'what is left of a machine',
    { machines: [...order.machines, machine('c', Seen.GONE)] },
    'is left of vms/c',
  ],
  ['a VM that does not run though it is shown so', { machines: [] }, 'does not run'],
  [
    'a VM that runs though it is shown stopped',
    { machines: [machine('a', Seen.RUNNING), machine('b', Seen.RUNNING)] },
    'its machine runs',
  ],
  [
    'a lease that is held',
    { vms: [vm('a', State.RUNNING, 'operations/x'), vm('b', State.STOPPED)] },
    'is still held',
  ],
  ['a volume on no record', { stored: ['1', '2', '3'] }, 'volume 3 is in storage'],
  ['a volume in no storage', { stored: ['1'] }, 'volumes/2 is on record'],
  ['room for a VM that is not there', { vmCounts: new Map([['hosts/h', 3]]) }, 'holds room for 3'],
])('%s', (_what, disorder, fault) => {
  expect(faultsOf({ ...order, ...disorder })).toContainEqual(expect.stringContaining(fault));
});
