/**
 * A host agent on a real gRPC server for the tests of jobs: machines and volumes in memory, fences kept, faults on
 * demand. It answers as proto/nephos/plugin/v1 says an agent must.
 */
import {
  MachineObservation_Cause as Cause,
  HypervisorServiceDefinition,
  type MachineObservation,
  MachineObservation_State as State,
} from '@nephos/proto/nephos/plugin/v1/hypervisor';
import type { Fence } from '@nephos/proto/nephos/plugin/v1/plugin';
import { StorageServiceDefinition, type StoredVolume } from '@nephos/proto/nephos/plugin/v1/storage';
import {
  Conflict,
  type DeepPartial,
  defineService,
  formatAddress,
  type Implementation,
  type NephosError,
  NotFound,
  Precondition,
  type RunningService,
  startService,
} from '@nephos/service';

interface Machine {
  incarnationUid: string;
  generation: bigint;
  state: MachineObservation['state'];
  cause: MachineObservation['cause'];
  reboots: Set<string>;
}

export class TestAgent implements AsyncDisposable {
  readonly machines = new Map<string, Machine>();
  readonly volumes = new Map<string, DeepPartial<StoredVolume>>();
  /** What the next calls of a method throw; `times` counts down. */
  readonly faults = new Map<string, { error: () => NephosError; times: number }>();
  readonly calls: string[] = [];
  readonly #fences = new Map<string, Fence>();
  #service: RunningService | undefined;

  async start(): Promise<string> {
    const definition = defineService({
      name: 'host-agent',
      version: '0.1.0',
      config: {},
      start: async ({ server }) => {
        server.add(HypervisorServiceDefinition, this.#hypervisor());
        server.add(StorageServiceDefinition, this.#storage());
      },
    });
    const env = { NEPHOS_LOG_LEVEL: 'silent', NEPHOS_DRAIN_DELAY: '0s' };
    this.#service = await startService(definition, { env });
    return formatAddress(this.#service.address);
  }

  get clients() {
    if (!this.#service) throw new Error('the agent was not started');
    return this.#service.context.clients;
  }

  get running(): string[] {
    return [...this.machines].filter(([, { state }]) => state === State.RUNNING).map(([uid]) => uid);
  }

  observation(vmUid: string): MachineObservation {
    const machine = this.machines.get(vmUid);
    return {
      vmUid,
      incarnationUid: machine?.incarnationUid ?? '',
      generation: machine?.generation ?? 0n,
      host: 'h1',
      state: machine?.state ?? State.GONE,
      cause: machine?.cause ?? Cause.UNSPECIFIED,
      managed: machine !== undefined,
      message: '',
      observeTime: undefined,
      pinned: { machine: 'pc-1' },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#service?.stop({ graceMs: 0 });
  }

  #enter(method: string, fence?: Fence): void {
    this.calls.push(method);
    const fault = this.faults.get(method);
    if (fault && fault.times > 0) {
      fault.times -= 1;
      throw fault.error();
    }
    if (fence) this.#check(fence);
  }

  #check(fence: Fence): void {
    const held = this.#fences.get(fence.entityUid);
    if (held && compare(fence, held) < 0)
      throw new Conflict('FENCED', `${fence.entityUid} is held by a newer operation`);
    this.#fences.set(fence.entityUid, fence);
  }

  #hypervisor(): Implementation<typeof HypervisorServiceDefinition> {
    return {
      getInfo: async () => ({}),
      getCapabilities: async () => ({ agentId: 'a' }),
      startMachine: async ({ fence, machine: spec }) => {
        this.#enter('startMachine', fence);
        if (!spec || !this.volumes.has(spec.disks[0]?.volumeUid ?? ''))
          throw new NotFound('RESOURCE_NOT_FOUND', 'no disk');
        const there = this.machines.get(spec.vmUid);
        const same = there?.incarnationUid === spec.incarnationUid;
        if (there?.state === State.RUNNING && !same)
          throw new Precondition('STATE_FORBIDS', 'another run is there');
        if (there?.state !== State.RUNNING) {
          const { incarnationUid, generation } = spec;
          const machine = { incarnationUid, generation, state: State.RUNNING, cause: Cause.REQUESTED };
          this.machines.set(spec.vmUid, { ...machine, reboots: new Set() });
        }
        return { observation: this.observation(spec.vmUid) };
      },
      stopMachine: async ({ fence, vmUid, incarnationUid }) => {
        this.#enter('stopMachine', fence);
        const machine = this.machines.get(vmUid);
        if (machine?.incarnationUid === incarnationUid && machine.state !== State.GONE) {
          machine.state = State.GONE;
          machine.cause = Cause.REQUESTED;
        }
        return { observation: { ...this.observation(vmUid), incarnationUid, state: State.GONE } };
      },
      rebootMachine: async ({ fence, vmUid, rebootUid }) => {
        this.#enter('rebootMachine', fence);
        this.machines.get(vmUid)?.reboots.add(rebootUid);
        return { observation: this.observation(vmUid) };
      },
      removeMachine: async ({ fence, vmUid }) => {
        this.#enter('removeMachine', fence);
        this.machines.delete(vmUid);
        return {};
      },
      getMachine: async ({ vmUid }) => {
        this.#enter('getMachine');
        return { observation: this.observation(vmUid) };
      },
      listMachines: async () => ({}),
      async *watchObservations() {},
      async *readConsole({ offset }) {
        yield { offset, data: Buffer.from('hello\n') };
      },
      recover: async () => ({}),
    };
  }

  #storage(): Implementation<typeof StorageServiceDefinition> {
    return {
      getInfo: async () => ({}),
      getCapabilities: async () => ({}),
      ensureTemplate: (request) => this.#ensureTemplate(request),
      createVolume: async ({ fence, volumeUid, sizeBytes, templateSha256 }) => {
        this.#enter('createVolume', fence);
        this.volumes.set(volumeUid, { volumeUid, sizeBytes, templateSha256, managed: true });
        return { volume: this.volumes.get(volumeUid) };
      },
      deleteVolume: async ({ fence, volumeUid }) => {
        this.#enter('deleteVolume', fence);
        this.volumes.delete(volumeUid);
        return {};
      },
      getVolume: async ({ volumeUid }) => ({ volume: this.volumes.get(volumeUid) }),
      listVolumes: async () => ({ volumes: [...this.volumes.values()] }),
      recover: async () => ({}),
    };
  }

  async *#ensureTemplate({ sizeBytes }: { readonly sizeBytes: bigint }) {
    this.#enter('ensureTemplate');
    yield { presentBytes: sizeBytes / 2n, complete: false };
    yield { presentBytes: sizeBytes, complete: true };
  }
}

function compare(a: Fence, b: Fence): number {
  for (const key of ['generation', 'epoch', 'sequence'] as const) {
    if (a[key] !== b[key]) return a[key] < b[key] ? -1 : 1;
  }
  return 0;
}
