/**
 * What may be asked for when a VM is created, and what becomes of it. Pure: the references are looked up before and
 * handed in, so that everything that is wrong is said at once (AIP-193, BadRequest).
 */
import { Power, PowerPolicy, type VmSpec as VmSpecMessage } from '@nephos/proto/nephos/orchestration/v1/vm';
import type { FieldViolation } from '@nephos/service';
import { hostnameOf, isHostname } from './hostname.ts';
import type { VmSpec } from './vm.ts';

const MiB = 1024 ** 2;
const TiB = 1024 ** 4;

/** Bounds of a VM's size; offerings hold to the same. Bytes. */
export const bounds = {
  vcpus: { min: 1, max: 256 },
  memoryBytes: { min: 32 * MiB, max: 16 * TiB, multiple: MiB },
  rootVolumeBytes: { max: 64 * TiB },
} as const;

/** What the names in a request stand for; undefined where there is none. */
export interface References {
  readonly zone: boolean;
  readonly offering: { readonly vcpus: number; readonly memoryBytes: number } | undefined;
  readonly template: { readonly virtualSizeBytes: number } | undefined;
  /** `zone`: the one that the host is in, `zones/{uid}`. */
  readonly host: { readonly zone: string } | undefined;
}

export interface CreateInput {
  readonly uid: string;
  readonly displayName: string;
  readonly zone: string;
  readonly spec: VmSpecMessage;
}

/** The resolved intent, or every field that is wrong. Fields are named as in the request, e.g. `vm.spec.vcpus`. */
export function resolveSpec(input: CreateInput, refs: References): VmSpec | readonly FieldViolation[] {
  const wrong: FieldViolation[] = [];
  const refuse = (field: string, description: string): void =>
    void wrong.push({ field: `vm.${field}`, description });
  checkReferences(input, refs, refuse);
  const size = sizeOf(input.spec, refs, refuse);
  const rootVolumeBytes = rootSizeOf(input.spec, refs, refuse);
  const hostname =
    input.spec.hostname === '' ? hostnameOf(input.displayName, input.uid) : input.spec.hostname;
  if (!isHostname(hostname))
    refuse('spec.hostname', 'has to be an RFC 1123 label: a-z, 0-9 and -, at most 63');
  const desiredPower = desiredPowers.get(input.spec.desiredPower);
  if (desiredPower === undefined) refuse('spec.desired_power', 'is no known value');
  const powerPolicy = powerPolicies.get(input.spec.powerPolicy);
  if (powerPolicy === undefined) refuse('spec.power_policy', 'is no known value');
  if (wrong.length > 0 || desiredPower === undefined || powerPolicy === undefined) return wrong;
  return {
    computeOffering: input.spec.computeOffering,
    ...size,
    template: input.spec.template,
    rootVolumeBytes,
    hostname,
    desiredPower,
    powerPolicy,
    host: input.spec.host,
  };
}

type Refuse = (field: string, description: string) => void;

function checkReferences({ zone, spec }: CreateInput, refs: References, refuse: Refuse): void {
  if (zone === '') refuse('header.zone', 'is required');
  else if (!refs.zone) refuse('header.zone', `there is no zone ${zone}`);
  if (spec.template === '') refuse('spec.template', 'is required');
  else if (!refs.template) refuse('spec.template', `there is no template ${spec.template}`);
  if (spec.host === '') return;
  if (!refs.host) refuse('spec.host', `there is no host ${spec.host}`);
  else if (refs.zone && refs.host.zone !== zone) refuse('spec.host', `${spec.host} is in another zone`);
}

function sizeOf(
  spec: VmSpecMessage,
  refs: References,
  refuse: Refuse,
): Pick<VmSpec, 'vcpus' | 'memoryBytes'> {
  const asked = { vcpus: spec.vcpus, memoryBytes: Number(spec.memoryBytes) };
  if (spec.computeOffering === '') {
    checkSize(asked, refuse);
    return asked;
  }
  if (!refs.offering) {
    refuse('spec.compute_offering', `there is no offering ${spec.computeOffering}`);
    return asked;
  }
  const { vcpus, memoryBytes } = refs.offering;
  if (asked.vcpus !== 0 && asked.vcpus !== vcpus)
    refuse('spec.vcpus', `the offering says ${vcpus}: leave it out`);
  if (asked.memoryBytes !== 0 && asked.memoryBytes !== memoryBytes) {
    refuse('spec.memory_bytes', `the offering says ${memoryBytes}: leave it out`);
  }
  return { vcpus, memoryBytes };
}

function checkSize({ vcpus, memoryBytes }: Pick<VmSpec, 'vcpus' | 'memoryBytes'>, refuse: Refuse): void {
  const { vcpus: cpu, memoryBytes: memory } = bounds;
  if (vcpus < cpu.min || vcpus > cpu.max) {
    refuse('spec.vcpus', `has to be ${cpu.min} to ${cpu.max} where no offering is named`);
  }
  if (memoryBytes < memory.min || memoryBytes > memory.max || memoryBytes % memory.multiple !== 0) {
    refuse(
      'spec.memory_bytes',
      'has to be a multiple of 1 MiB, 32 MiB to 16 TiB, where no offering is named',
    );
  }
}

function rootSizeOf(spec: VmSpecMessage, { template }: References, refuse: Refuse): number {
  const asked = Number(spec.rootVolumeSizeBytes);
  const field = 'spec.root_volume_size_bytes';
  if (asked < 0 || asked > bounds.rootVolumeBytes.max) refuse(field, 'has to be 0 to 64 TiB');
  const least = template?.virtualSizeBytes ?? 0;
  if (asked > 0 && asked < least) refuse(field, `the template's disk has ${least} bytes: no less will do`);
  return asked === 0 ? least : asked;
}

const desiredPowers: ReadonlyMap<number, VmSpec['desiredPower']> = new Map([
  [Power.UNSPECIFIED, 'on'],
  [Power.ON, 'on'],
  [Power.OFF, 'off'],
]);

export const powerPolicies: ReadonlyMap<number, VmSpec['powerPolicy']> = new Map([
  [PowerPolicy.UNSPECIFIED, 'follow'],
  [PowerPolicy.FOLLOW, 'follow'],
  [PowerPolicy.ENFORCE, 'enforce'],
  [PowerPolicy.ALERT, 'alert'],
]);
