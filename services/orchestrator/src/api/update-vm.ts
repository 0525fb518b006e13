/**
 * UpdateVm (AIP-134): the name, labels, annotations and power policy of a VM that is not on its way out. Accepted
 * once; the VM remembers what was applied, so that a repeat is no stale etag and undoes nothing that came after it.
 */
import {
  type Idempotency,
  type IdempotentMethod,
  type RequestRecord,
  wasApplied,
  withApplied,
} from '@nephos/idempotency';
import { UpdateVmRequest, type Vm as VmMessage } from '@nephos/proto/nephos/orchestration/v1/vm';
import {
  AlreadyExists,
  applyUpdateMask,
  type Call,
  Conflict,
  checkEtag,
  checkHeader,
  fieldInvalid,
  Precondition,
  parseResourceName,
  updatePaths,
} from '@nephos/service';
import type { Json, Stored } from '@nephos/store';
import { powerPolicies } from '../domain/vm/create.ts';
import { nameKeyOf, nameTaken } from '../domain/vm/name.ts';
import type { PowerPolicy, Vm } from '../domain/vm/vm.ts';
import type { Projector } from '../reconcile/projector.ts';
import type { VmEntities } from '../records/vm.ts';

const changeable = ['header.display_name', 'header.labels', 'header.annotations', 'spec.power_policy'];
const attempts = 5;

/** What the VM is to look like in the fields that the mask names; the others are missing. */
interface Wanted {
  readonly displayName?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly powerPolicy?: PowerPolicy;
  readonly etag: string;
}

export interface UpdateVmParts {
  readonly vms: VmEntities;
  readonly projector: Projector;
  readonly idempotency: Idempotency;
}

export class UpdateVm {
  readonly #parts: UpdateVmParts;
  readonly #method: IdempotentMethod<Json, VmMessage>;

  constructor(parts: UpdateVmParts) {
    this.#parts = parts;
    this.#method = parts.idempotency.method<Json, VmMessage>({
      name: '/nephos.orchestration.v1.VmService/UpdateVm',
      carryOut: (record) => this.#carryOut(record),
      answer: async ({ entityUid }) => parts.vms.message(await parts.projector.get(entityUid)),
    });
  }

  update(request: UpdateVmRequest, call: Call): Promise<VmMessage> {
    return this.#method(call, UpdateVmRequest.encode(request).finish(), async () => {
      const { vm: patch, updateMask } = request;
      if (!patch?.header) throw fieldInvalid('vm.header', 'is required', true);
      const { name, etag } = patch.header;
      const stored = await this.#parts.projector.get(parseResourceName('vms', name, 'vm.header.name'));
      checkEtag(etag, stored.id, stored.eventSeq);
      const wanted = this.#wanted(stored, patch, updateMask);
      checkChangeable(stored.value);
      return { entityUid: stored.id, body: { ...wanted, etag } };
    });
  }

  #wanted(stored: Stored<Vm>, patch: VmMessage, mask: readonly string[] | undefined): Omit<Wanted, 'etag'> {
    const paths = new Set(updatePaths(mask, changeable, patch));
    const { header, spec } = applyUpdateMask(this.#parts.vms.message(stored), patch, mask, changeable);
    if (!header || !spec) throw fieldInvalid('vm.header', 'is required', true);
    checkHeader(header, 'vm.header');
    const powerPolicy = powerPolicies.get(spec.powerPolicy);
    // One that this version does not know is the VM's own business, unless it is asked for here.
    if (!powerPolicy && paths.has('spec.power_policy')) {
      throw fieldInvalid('vm.spec.power_policy', 'is no known value');
    }
    const { displayName, labels, annotations } = header;
    return {
      ...(paths.has('header.display_name') && { displayName }),
      ...(paths.has('header.labels') && { labels }),
      ...(paths.has('header.annotations') && { annotations }),
      ...(powerPolicy !== undefined && paths.has('spec.power_policy') && { powerPolicy }),
    };
  }

  async #carryOut(request: RequestRecord): Promise<VmMessage> {
    const { projector, vms } = this.#parts;
    const { entityUid, body } = request;
    const wanted = body as unknown as Wanted;
    for (let attempt = 1; ; attempt += 1) {
      const stored = await projector.get(entityUid);
      if (wasApplied(stored.value, request)) return vms.message(stored);
      checkEtag(wanted.etag, entityUid, stored.eventSeq);
      checkChangeable(stored.value);
      try {
        const change = (vm: Vm) => withApplied(apply(vm, wanted), request);
        return vms.message(await projector.change(entityUid, change, { expected: stored.revision }));
      } catch (error) {
        if (error instanceof AlreadyExists) throw nameTaken(apply(stored.value, wanted).header);
        if (!(error instanceof Conflict) || attempt === attempts) throw error;
      }
    }
  }
}

function apply(vm: Vm, wanted: Wanted): Vm {
  const { displayName = vm.header.displayName, labels = vm.header.labels } = wanted;
  const { annotations = vm.header.annotations, powerPolicy = vm.spec.powerPolicy } = wanted;
  const header = { ...vm.header, displayName, labels, annotations };
  return { ...vm, header, nameKey: nameKeyOf(header), spec: { ...vm.spec, powerPolicy } };
}

function checkChangeable(vm: Vm): void {
  if (vm.phase !== 'deleted' && vm.phase !== 'expunging') return;
  const subject = `vms/${vm.header.uid}`;
  const description = `it is ${vm.phase}: recover it first`;
  throw new Precondition('STATE_FORBIDS', `${subject}: ${description}`, {
    metadata: { state: vm.status.state },
    preconditions: [{ type: 'STATE_FORBIDS', subject, description }],
  });
}
