/**
 * The verbs on a VM that are jobs: start, stop, reboot, delete, undelete, expunge. All one shape: guard by the VM's
 * phase, accept the request once, take the lease, submit. Refused (another operation holds it, its state forbids),
 * nothing is left.
 */
import type { Idempotency, IdempotentMethod, RequestRecord } from '@nephos/idempotency';
import { type JobClient, operationOf } from '@nephos/jobs';
import type { Operation } from '@nephos/proto/google/longrunning/operations';
import { type Call, checkEtag, newUid, parseResourceName } from '@nephos/service';
import type { Json } from '@nephos/store';
import type { OperationLeases } from '../adapters/operation-leases.ts';
import type { VmOperations } from '../adapters/vm-operations.ts';
import { nameKeyOf, nameTaken } from '../domain/vm/name.ts';
import { checkAllowed } from '../domain/vm/phase.ts';
import type { OperationKind } from '../domain/vm/vm.ts';
import { orMissing } from '../or-missing.ts';
import type { Projector } from '../reconcile/projector.ts';
import type { OperationInput } from '../records/operation.ts';
import type { VmEntities } from '../records/vm.ts';

export interface OperateVmParts {
  readonly vms: VmEntities;
  readonly leases: OperationLeases;
  readonly projector: Projector;
  readonly operations: VmOperations;
  readonly jobs: JobClient;
  readonly idempotency: Idempotency;
}

/** What a request asks of one VM. */
interface Ask {
  /** `vms/{uid}`. */
  readonly name: string;
  readonly etag?: string;
}

/** One verb. `Request`: its message; `inputOf`: what its job is told beside the VM. */
interface Verb<Request extends Ask> {
  readonly kind: OperationKind;
  readonly method: string;
  readonly codec: { encode(message: Request): { finish(): Uint8Array } };
  inputOf?(request: Request): Omit<OperationInput, 'vmUid'>;
}

export function operateVm<Request extends Ask>(
  parts: OperateVmParts,
  verb: Verb<Request>,
): (request: Request, call: Call) => Promise<Operation> {
  const method: IdempotentMethod<Json, Operation> = parts.idempotency.method<Json, Operation>({
    name: `/nephos.orchestration.v1.VmService/${verb.method}`,
    carryOut: (record, { again }) => carryOut(parts, verb.kind, record, again),
    answer: async ({ jobUid }) => operationOf(await parts.jobs.get(jobUid)),
  });
  return (request, call) =>
    method(call, verb.codec.encode(request).finish(), async () => {
      const vmUid = parseResourceName('vms', request.name);
      const { value: vm, eventSeq } = await parts.projector.get(vmUid);
      checkEtag(request.etag ?? '', vmUid, eventSeq);
      await parts.leases.checkFree(vmUid);
      checkAllowed(verb.kind, vm);
      if (verb.kind === 'vm.undelete') await checkNameIsFree(parts.vms, nameKeyOf(vm.header), vm.header);
      return { entityUid: vmUid, jobUid: newUid(), body: { ...verb.inputOf?.(request) } };
    });
}

async function carryOut(
  { jobs, operations, projector }: OperateVmParts,
  kind: OperationKind,
  { entityUid: vmUid, jobUid, body }: RequestRecord,
  again: boolean,
): Promise<Operation> {
  if (again) {
    const job = await orMissing(jobs.get(jobUid));
    if (job) return operationOf(job);
  }
  const { value: vm } = await projector.get(vmUid);
  checkAllowed(kind, vm);
  const input = { vmUid, ...(body as Omit<OperationInput, 'vmUid'>) };
  return operationOf(await operations.begin({ vmUid, kind, jobUid, input }, vm.header));
}

async function checkNameIsFree(
  vms: VmEntities,
  nameKey: string,
  header: Parameters<typeof nameTaken>[0],
): Promise<void> {
  const { items } = await vms.find({ where: { nameKey }, limit: 1 });
  if (items.length > 0) throw nameTaken(header);
}
