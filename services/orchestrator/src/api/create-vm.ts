/**
 * CreateVm: checks all of the request at once, accepts it once, then lease, VM, job; each under an id minted before.
 * A crash between leaves an open request record: the next repeat or sweep goes through the same steps and finds what
 * is there. A display name taken is a refusal and leaves nothing.
 */
import type { EntityCollection } from '@nephos/events';
import { goneSince, type Idempotency, type IdempotentMethod, type RequestRecord } from '@nephos/idempotency';
import { type JobClient, operationOf } from '@nephos/jobs';
import type { Operation } from '@nephos/proto/google/longrunning/operations';
import { CreateVmRequest, type Vm as VmMessage, VmSpec } from '@nephos/proto/nephos/orchestration/v1/vm';
import {
  Template_Format as Format,
  Template_State as State,
  type Template,
  type TemplateServiceDefinition,
} from '@nephos/proto/nephos/template/v1/template';
import {
  AlreadyExists,
  type Call,
  type Client,
  type Clock,
  checkHeader,
  type FieldViolation,
  fieldInvalid,
  Invalid,
  NotFound,
  newHeader,
  newUid,
  Precondition,
  parseResourceName,
  refuseFields,
} from '@nephos/service';
import type { Json, Stored } from '@nephos/store';
import type { OperationLeases } from '../adapters/operation-leases.ts';
import type { VmOperations } from '../adapters/vm-operations.ts';
import { resolveSpec } from '../domain/vm/create.ts';
import { nameKeyOf, nameTaken } from '../domain/vm/name.ts';
import { roomFor } from '../domain/vm/needs.ts';
import { projectVm } from '../domain/vm/project.ts';
import type { Vm } from '../domain/vm/vm.ts';
import type { Inventory } from '../inventory.ts';
import { orMissing } from '../or-missing.ts';
import type { Placement } from '../ports.ts';
import type { VmEntities } from '../records/vm.ts';

export interface CreateVmParts {
  readonly inventory: Pick<Inventory, 'zones' | 'hosts' | 'computeOfferings'>;
  readonly vms: VmEntities;
  readonly leases: OperationLeases;
  readonly operations: VmOperations;
  readonly jobs: JobClient;
  readonly idempotency: Idempotency;
  readonly templates: Client<typeof TemplateServiceDefinition>;
  readonly placement: Placement;
  readonly clock: Clock;
}

/** The VM as it will be inserted; its text form is what the request record keeps. */
interface CreateBody {
  readonly vm: Vm;
}

export class CreateVm {
  readonly #parts: CreateVmParts;
  readonly #method: IdempotentMethod<Json, Operation>;

  constructor(parts: CreateVmParts) {
    this.#parts = parts;
    this.#method = parts.idempotency.method<Json, Operation>({
      name: '/nephos.orchestration.v1.VmService/CreateVm',
      carryOut: (record, { again }) => this.#carryOut(record, again),
      answer: async ({ jobUid }) => operationOf(await parts.jobs.get(jobUid)),
    });
  }

  create(request: CreateVmRequest, call: Call): Promise<Operation> {
    return this.#method(call, CreateVmRequest.encode(request).finish(), async () => {
      const entityUid = newUid();
      const jobUid = newUid();
      const vm = await this.#resolve(request.vm, entityUid, jobUid);
      await this.#checkName(vm);
      await this.#parts.placement.checkPossible(roomFor(vm));
      const body: CreateBody = { vm };
      return { entityUid, jobUid, body: body as unknown as Json };
    });
  }

  async #carryOut({ entityUid, jobUid, body }: RequestRecord, again: boolean): Promise<Operation> {
    const { jobs, leases, operations, vms } = this.#parts;
    if (again) {
      const job = await orMissing(jobs.get(jobUid));
      if (job) return operationOf(job);
    }
    const { vm } = body as unknown as CreateBody;
    const request = { vmUid: entityUid, kind: 'vm.create', jobUid, input: { vmUid: entityUid } } as const;
    await leases.acquire(request);
    try {
      await vms.insert(entityUid, vm, { fresh: true });
    } catch (error) {
      if (!(error instanceof AlreadyExists)) throw error;
      if (!(await vms.get(entityUid))) {
        await leases.forget(entityUid, jobUid);
        if (error.details.metadata?.['index'] === 'id') throw goneSince('vms', entityUid);
        throw nameTaken(vm.header);
      }
    }
    return operationOf(await operations.begin(request, vm.header));
  }

  async #resolve(message: VmMessage | undefined, uid: string, createJob: string): Promise<Vm> {
    const header = message?.header;
    if (!header) throw fieldInvalid('vm.header', 'is required', true);
    const spec = message.spec ?? VmSpec.fromPartial({});
    const [zone, offering, template, host] = await Promise.all([
      find(this.#parts.inventory.zones, header.zone),
      find(this.#parts.inventory.computeOfferings, spec.computeOffering),
      this.#template(spec.template),
      find(this.#parts.inventory.hosts, spec.host),
    ]);
    const resolved = resolveSpec(
      { uid, displayName: header.displayName, zone: header.zone, spec },
      {
        zone: zone !== undefined,
        offering: offering?.value,
        template: template && { virtualSizeBytes: Number(template.virtualSizeBytes) },
        host: host && { zone: host.value.header.zone },
      },
    );
    const wrong = 'vcpus' in resolved ? [] : resolved;
    refuseFields([
      ...faultsOf(() => checkHeader(header, 'vm.header')),
      ...wrong,
      ...zoneFaults(template, header.zone),
    ]);
    if (!('vcpus' in resolved) || !template) throw fieldInvalid('vm.spec', 'is not whole');
    const record = newHeader(uid, header, this.#parts.clock);
    const vm = {
      header: record,
      nameKey: nameKeyOf(record),
      phase: 'creating' as const,
      spec: resolved,
      image: imageOf(template),
      rootVolumeUid: newUid(),
      createJob,
    };
    return { ...vm, status: projectVm(vm, { holder: { jobUid: createJob, kind: 'vm.create' } }) };
  }

  async #template(name: string): Promise<Template | undefined> {
    if (name === '') return undefined;
    try {
      return await this.#parts.templates.getTemplate({ name });
    } catch (error) {
      if (error instanceof NotFound || error instanceof Invalid) return undefined;
      throw error;
    }
  }

  /** Early and friendly; the insert's unique index decides. */
  async #checkName({ nameKey, header }: Vm): Promise<void> {
    if (nameKey === undefined) return;
    const { items } = await this.#parts.vms.find({ where: { nameKey }, limit: 1 });
    if (items.length > 0) throw nameTaken(header);
  }
}

/** What a resource name in a request stands for; undefined: nothing, or it is no such name. */
async function find<T, M>(entity: EntityCollection<T, M>, name: string): Promise<Stored<T> | undefined> {
  if (name === '') return undefined;
  try {
    return await entity.get(parseResourceName(entity.definition.collection, name));
  } catch (error) {
    if (error instanceof NotFound || error instanceof Invalid) return undefined;
    throw error;
  }
}

function faultsOf(check: () => void): readonly FieldViolation[] {
  try {
    check();
    return [];
  } catch (error) {
    if (error instanceof Invalid && error.details.fields) return error.details.fields;
    throw error;
  }
}

function zoneFaults(template: Template | undefined, zone: string): readonly FieldViolation[] {
  const within = template?.header?.zone ?? '';
  if (within === '' || within === zone) return [];
  return [{ field: 'vm.spec.template', description: `it is in ${within}, not in ${zone}` }];
}

function imageOf(template: Template): Vm['image'] {
  const { header, state, sha256, sizeBytes, format, architecture } = template;
  if (state !== State.READY) {
    const subject = header?.name ?? 'template';
    const description = 'the template is not ready: VMs can be made from it once it is';
    throw new Precondition('STATE_FORBIDS', `${subject}: ${description}`, {
      preconditions: [{ type: 'STATE_FORBIDS', subject, description }],
    });
  }
  return {
    sha256,
    sizeBytes: Number(sizeBytes),
    format: format === Format.RAW ? 'raw' : 'qcow2',
    architecture,
  };
}
