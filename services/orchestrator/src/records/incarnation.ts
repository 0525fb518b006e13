/**
 * Runs of VMs as stored: facts, one record a run. Writers: the job that asks for a run (`starting`), then only what
 * agents report. The last run of a VM is kept; the one before goes when the next is asked for.
 */
import { defineCollection } from '@nephos/store';
import type { Incarnation } from '../domain/vm/vm.ts';

export const incarnationCollection = defineCollection<Incarnation>({
  name: 'incarnations',
  schemaVersion: 1,
  indexes: {
    /** What a complete picture of a host has to show. */
    alive: { fields: ['aliveOn'] },
    vm: { fields: ['vmUid'] },
  },
});
