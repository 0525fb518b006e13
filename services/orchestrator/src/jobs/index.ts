/** Every job on VMs, by its type. */
import type { OperationKind } from '../domain/vm/vm.ts';
import type { VmJob } from './operation.ts';
import { vmClean } from './vm-clean.ts';
import { vmCreate } from './vm-create.ts';
import { vmDelete } from './vm-delete.ts';
import { vmExpunge } from './vm-expunge.ts';
import { vmReboot } from './vm-reboot.ts';
import { vmStart } from './vm-start.ts';
import { vmStop } from './vm-stop.ts';
import { vmUndelete } from './vm-undelete.ts';

export const vmJobs: Readonly<Record<OperationKind, VmJob>> = {
  'vm.create': vmCreate,
  'vm.start': vmStart,
  'vm.stop': vmStop,
  'vm.reboot': vmReboot,
  'vm.delete': vmDelete,
  'vm.undelete': vmUndelete,
  'vm.expunge': vmExpunge,
  'vm.clean': vmClean,
};
