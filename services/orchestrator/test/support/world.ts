/**
 * The VM half of the orchestrator on a real store and real gRPC, with one host whose agent is support/agent.ts and
 * with support/jobs.ts as job control. `reopen` stands for a restart: new objects over the same file.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openIdempotency } from '@nephos/idempotency';
import { VmServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/vm';
import { VolumeServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/volume';
import { HypervisorServiceDefinition } from '@nephos/proto/nephos/plugin/v1/hypervisor';
import { StorageServiceDefinition } from '@nephos/proto/nephos/plugin/v1/storage';
import {
  Template_Format as Format,
  Template_State as State,
  Template,
  TemplateServiceDefinition,
} from '@nephos/proto/nephos/template/v1/template';
import {
  type Clients,
  type Clock,
  defineService,
  formatAddress,
  NotFound,
  newHeader,
  newUid,
  startService,
  systemClock,
} from '@nephos/service';
import { openStore } from '@nephos/store';
import { StoredCapacity } from '../../src/adapters/capacity.ts';
import { Fleet } from '../../src/adapters/fleet.ts';
import { ClaimingPlacement } from '../../src/adapters/placement.ts';
import { atBest } from '../../src/domain/planner/at-best.ts';
import { planDeployment } from '../../src/domain/planner/plan.ts';
import { openInventory } from '../../src/inventory.ts';
import type { HostLink, HostObservations } from '../../src/ports.ts';
import { addVms, openVmRecords } from '../../src/vms.ts';
import { TestAgent } from './agent.ts';
import { TestJobs } from './jobs.ts';

export const MiB = 1024 ** 2;
const amounts = { vcpus: 16, memoryBytes: 1024 * MiB, diskBytes: 10_000 * MiB };

/** What outlives a restart. */
export interface Ground extends AsyncDisposable {
  readonly folder: string;
  readonly agent: TestAgent;
  readonly zone: string;
  readonly hostUid: string;
  readonly template: Template;
}

export async function openGround(): Promise<Ground> {
  const stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'nephos-vms-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const agent = stack.use(await TestAgent.open(folder));
  const uid = newUid();
  const template = Template.fromPartial({
    header: { name: `templates/${uid}`, uid },
    state: State.READY,
    format: Format.QCOW2,
    sha256: 'ab'.repeat(32),
    sizeBytes: 10n,
    virtualSizeBytes: BigInt(50 * MiB),
    architecture: 'x86_64',
  });
  const zone = `zones/${newUid()}`;
  const dispose = () => stack.disposeAsync();
  return { folder, agent, zone, hostUid: newUid(), template, [Symbol.asyncDispose]: dispose };
}

export type World = Awaited<ReturnType<typeof openWorld>>;

export async function openWorld(ground: Ground, { clock = systemClock }: { clock?: Clock } = {}) {
  const { folder, agent } = ground;
  const stack = new AsyncDisposableStack();
  const store = stack.use(await openStore({ url: `sqlite://${folder}/orchestrator.db`, clock }));
  const inventory = await openInventory(store, 'orchestrator', clock);
  await seed(inventory, ground, clock);
  const fleet = new Fleet(inventory.hosts, inventory.ledgers);
  await fleet.resync();
  const capacity = new StoredCapacity(inventory.ledgers, inventory.claimPointers, (uid, ledger) =>
    fleet.ledgerChanged(uid, ledger),
  );
  const placement = new ClaimingPlacement(
    async (asked) => planDeployment(fleet.views(), asked, () => 0.5),
    async (asked) => planDeployment(fleet.views().map(atBest), asked, () => 0.5),
    capacity,
  );
  const links = new TestLinks(agent);
  const records = await openVmRecords(store, 'orchestrator', clock);
  const idempotency = await openIdempotency(store, { clock });
  const reported: { uid: string; message: string }[][] = [];
  const jobs = new TestJobs(() => part.deps);
  let part!: ReturnType<typeof addVms>;
  const service = await startService(
    defineService({
      name: 'orchestrator',
      version: '0.1.0',
      config: {},
      start: async (ctx) => {
        const clients = templatesOf(ctx.clients, ground);
        const quiet = { ...ctx, clients, clock };
        part = addVms(quiet, {
          records,
          inventory,
          idempotency,
          jobs,
          placement,
          capacity,
          links,
          unmanaged: { report: async (_host, machines) => void reported.push([...machines]) },
          retentionMs: 60_000,
          reconcileMs: 1_000,
        });
      },
    }),
    { env: { NEPHOS_LOG_LEVEL: 'silent', NEPHOS_DRAIN_DELAY: '0s' }, clock },
  );
  stack.use(service);
  const address = formatAddress(service.address);
  const { clients } = service.context;
  return {
    ...ground,
    inventory,
    records,
    capacity,
    links,
    jobs,
    idempotency,
    reported,
    get reconciler() {
      return part.reconciler;
    },
    get sweeper() {
      return part.sweeper;
    },
    get deps() {
      return part.deps;
    },
    get leftovers() {
      return part.leftovers;
    },
    placement,
    vms: clients.of(VmServiceDefinition, address),
    volumes: clients.of(VolumeServiceDefinition, address),
    async claims() {
      const all = [];
      for await (const claim of capacity.all()) all.push(claim);
      return all;
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

async function seed(
  inventory: Awaited<ReturnType<typeof openInventory>>,
  { agent, zone, hostUid }: Ground,
  clock: Clock,
): Promise<void> {
  if (await inventory.hosts.get(hostUid)) return;
  const named = { owner: '', zone, labels: {}, annotations: {} };
  const zoneUid = zone.slice('zones/'.length);
  const zoneHeader = newHeader(zoneUid, { ...named, displayName: 'z' }, clock);
  await inventory.zones.insert(zoneUid, { header: zoneHeader, description: '' });
  await inventory.ledgers.insert(hostUid, {
    capacity: amounts,
    overcommit: { cpu: 1, memory: 1 },
    claims: {},
  });
  await inventory.hosts.insert(hostUid, {
    header: newHeader(hostUid, { ...named, displayName: agent.host }, clock),
    cluster: 'clusters/c',
    agentId: 'a',
    agentHost: agent.host,
    link: 'up',
    admin: 'enabled',
    health: 'healthy',
    adminReason: '',
    sessionEpoch: 1,
    facts: { capacity: amounts, hypervisor: 'test', accelerator: 'none', architecture: 'x86_64' },
    allocated: { vcpus: 0, memoryBytes: 0, diskBytes: 0 },
    vmCount: 0,
    unmanaged: [],
  });
}

/** The template service, reduced to the one answer that is needed of it. */
function templatesOf(clients: Clients, { template }: Ground): Clients {
  const getTemplate = async ({ name }: { name?: string }): Promise<Template> => {
    if (name === template.header?.name) return template;
    throw new NotFound('RESOURCE_NOT_FOUND', `there is no ${name}`);
  };
  const of = ((definition: { name: string }, target: string, options?: object) =>
    definition.name === TemplateServiceDefinition.name
      ? { getTemplate }
      : clients.of(definition as never, target, options)) as unknown as Clients['of'];
  return { of };
}

export class TestLinks {
  link: HostLink = 'up';
  readonly #agent: TestAgent;
  readonly #observers = new Set<(seen: HostObservations) => Promise<void>>();
  readonly #linkObservers = new Set<(hostUid: string, link: HostLink) => Promise<void>>();

  constructor(agent: TestAgent) {
    this.#agent = agent;
  }

  hypervisor = async () => ({
    client: this.#agent.clients.of(HypervisorServiceDefinition, this.#agent.address),
    host: this.#agent.host,
  });
  storage = async () => ({
    client: this.#agent.clients.of(StorageServiceDefinition, this.#agent.address),
    host: this.#agent.host,
  });
  linkOf = (): HostLink => this.link;
  linkNow = (): Promise<HostLink> => Promise.resolve(this.link);

  onObservations(listener: (seen: HostObservations) => Promise<void>): Disposable {
    this.#observers.add(listener);
    return { [Symbol.dispose]: () => this.#observers.delete(listener) };
  }

  onLink(listener: (hostUid: string, link: HostLink) => Promise<void>): Disposable {
    this.#linkObservers.add(listener);
    return { [Symbol.dispose]: () => this.#linkObservers.delete(listener) };
  }

  async tell(seen: Omit<HostObservations, 'stillMine'>): Promise<void> {
    for (const observer of this.#observers) await observer({ ...seen, stillMine: () => undefined });
  }

  async setLink(hostUid: string, link: HostLink): Promise<void> {
    this.link = link;
    for (const observer of this.#linkObservers) await observer(hostUid, link);
  }
}
