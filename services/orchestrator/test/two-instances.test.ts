/**
 * Two instances on one store: who observes, what a successor says, what a former holder can still write, and that no
 * picture in memory costs a VM its place. The leases, links, fleets and store are the real ones; the agent is a stream.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { holdLease, openLeases } from '@nephos/leases';
import { HostCapabilities, WatchObservationsResponse } from '@nephos/proto/nephos/plugin/v1/hypervisor';
import { type Clients, type Clock, type Logger, newHeader, newUid, systemClock } from '@nephos/service';
import { openStore } from '@nephos/store';
import { DirectoryAgentLinks } from '../src/adapters/agent-links.ts';
import { StoredCapacity } from '../src/adapters/capacity.ts';
import { Fleet } from '../src/adapters/fleet.ts';
import { HostFactsWriter } from '../src/adapters/host-facts.ts';
import { openLedger } from '../src/adapters/host-ledger.ts';
import { HostProjector } from '../src/adapters/host-projector.ts';
import { applyOvercommit } from '../src/adapters/overcommit.ts';
import { ClaimingPlacement, type Planner } from '../src/adapters/placement.ts';
import { planDeployment } from '../src/domain/planner/plan.ts';
import { openInventory } from '../src/inventory.ts';
import type { HostLink } from '../src/ports.ts';
import type { HostRecord } from '../src/records/host.ts';
import { sharedView } from './support/shared-store.ts';

const log = { info() {}, warn() {}, error() {}, debug() {} } as unknown as Logger;
const nothing = { vcpus: 0, memoryBytes: 0, diskBytes: 0 };
const sized = { vcpus: 4, memoryBytes: 1000, diskBytes: 1000 };
const needs = { vcpus: 4, memoryBytes: 100, diskBytes: 100 };

/** A clock of one process, which a test stops and moves on as SIGSTOP does. */
class ProcessClock implements Clock {
  movedMs = 0;
  now = () => new Date(systemClock.now().getTime() + this.movedMs);
  monotonic = () => systemClock.monotonic() + this.movedMs;
  sleep: Clock['sleep'] = (ms, signal) => systemClock.sleep(ms, signal);
  timer: Clock['timer'] = (ms, fire) => systemClock.timer(ms, fire);
  every: Clock['every'] = (ms, fire) => systemClock.every(ms, fire);
}

/** An agent that beats for whoever watches it; `hung`: it answers nobody. */
class BeatingAgent {
  open = 0;
  sessions = 0;
  hung = false;

  clients(): Clients {
    const client = {
      getCapabilities: async (_request: object, { signal }: { signal: AbortSignal }) => {
        if (this.hung) await systemClock.sleep(60_000, signal);
        this.sessions += 1;
        return { hosts: [HostCapabilities.fromPartial({ host: 'h', cpus: 4, memoryBytes: 1000n })] };
      },
      watchObservations: (_request: object, { signal }: { signal: AbortSignal }) => this.#watch(signal),
    };
    return { of: () => client } as unknown as Clients;
  }

  async *#watch(signal: AbortSignal) {
    this.open += 1;
    try {
      for (let beat = 0; ; beat += 1) {
        signal.throwIfAborted();
        const cursor = `s:${beat}`;
        yield WatchObservationsResponse.fromPartial({ cursor, snapshotComplete: beat === 0 });
        await systemClock.sleep(10, signal);
      }
    } finally {
      this.open -= 1;
    }
  }
}

let world: Awaited<ReturnType<typeof openWorld>>;
beforeEach(async () => {
  world = await openWorld();
});
afterEach(() => world.stack.disposeAsync());

async function openWorld() {
  const stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'nephos-two-'));
  stack.defer(() => rm(folder, { recursive: true }));
  const store = stack.use(await openStore({ url: `sqlite://${folder}/o.db`, clock: systemClock }));
  const inventory = await openInventory(store, 'orchestrator', systemClock);
  return { stack, store, inventory, agent: new BeatingAgent() };
}

async function addHost(displayName: string, given: Partial<HostRecord> = {}): Promise<string> {
  const { inventory } = world;
  const uid = newUid();
  const named = { displayName, owner: '', zone: 'zones/z', labels: {}, annotations: {} };
  await inventory.hosts.insert(uid, {
    header: newHeader(uid, named, systemClock),
    cluster: `clusters/${newUid()}`,
    agentId: 'a',
    agentHost: displayName,
    link: 'up',
    admin: 'enabled',
    health: 'healthy',
    adminReason: '',
    sessionEpoch: 1,
    facts: { capacity: sized, hypervisor: '', accelerator: '', architecture: '' },
    allocated: nothing,
    vmCount: 0,
    unmanaged: [],
    ...given,
  });
  await openLedger(inventory, uid);
  return uid;
}

/** What one orchestrator has of the parts that know hosts. `leaseMs`: of its leases; a long one ends by release alone. */
async function openInstance(name: string, leaseMs = 1_000) {
  const { stack, store, inventory, agent } = world;
  const clock = new ProcessClock();
  const fleet = new Fleet(inventory.hosts, inventory.ledgers, { shared: true });
  await fleet.resync();
  const facts = new HostFactsWriter(inventory.hosts, inventory.ledgers, fleet, clock);
  const links = new DirectoryAgentLinks({
    ...{ fleet, facts, clients: agent.clients(), clock, log },
    silentAfterMs: 2_000,
    disconnectedAfterMs: 60_000,
  });
  const capacity = new StoredCapacity(inventory.ledgers, inventory.claimPointers, (uid, ledger) =>
    fleet.ledgerChanged(uid, ledger),
  );
  const planner: Planner = async (request) => planDeployment(fleet.views(), request, () => 0.5);
  const placement = new ClaimingPlacement(planner, planner, capacity, async () => {
    await fleet.catchUp();
    return true;
  });
  const opened = await openLeases({ store: sharedView(store), clock, log, owner: name, leaseMs });
  /** While it is set, nothing of this instance's leases gets through, as where its process or its network stands still. */
  const stall: { gate?: Promise<void> } = {};
  const update: typeof opened.documents.update = async (...asked) => {
    await stall.gate;
    return await opened.documents.update(...asked);
  };
  const { documents } = opened;
  const leases = {
    ...opened,
    documents: {
      ...documents,
      get: documents.get.bind(documents),
      insert: documents.insert.bind(documents),
      update,
    },
  };
  const stop = new AbortController();
  const terms: { epoch: number; over: boolean }[] = [];
  let running: Promise<void> = Promise.resolve();
  const run = () => {
    const background = (_loop: string, loop: (signal: AbortSignal) => Promise<void>) => {
      running = loop(stop.signal);
    };
    holdLease({ background }, { leases, name: 'observer' }, async (held) => {
      const term = { epoch: held.epoch, over: false };
      terms.push(term);
      await links.observe(held);
      term.over = true;
    });
  };
  const end = async (): Promise<void> => {
    stop.abort();
    await running;
  };
  stack.defer(end);
  return { stall, clock, fleet, facts, links, capacity, placement, terms, run, end };
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await systemClock.sleep(10);
}

const recordOf = async (uid: string) => (await world.inventory.hosts.get(uid))?.value;
const linkOf = async (uid: string): Promise<HostLink | undefined> => (await recordOf(uid))?.link;

test('one of two observes; it leaves, the other takes over at once and nobody is called silent', async () => {
  const uid = await addHost('h');
  const [one, two] = [await openInstance('one', 20_000), await openInstance('two', 20_000)];
  one.run();
  await until(() => world.agent.open === 1);
  two.run();
  const links: (HostLink | undefined)[] = [];
  await one.end();
  while (world.agent.open !== 1) {
    links.push(await linkOf(uid));
    await systemClock.sleep(5);
  }
  expect(new Set(links)).toEqual(new Set(['up']));
  expect(one.terms).toEqual([{ epoch: 1, over: true }]);
  expect(two.terms).toEqual([{ epoch: 2, over: false }]);
  await until(async () => (await recordOf(uid))?.observerEpoch === 2);
});

test('a successor that cannot reach the agent waits its own time before it calls the host silent', async () => {
  const uid = await addHost('h');
  const one = await openInstance('one');
  one.run();
  await until(async () => (await recordOf(uid))?.observerEpoch === 1);
  world.agent.hung = true;
  await one.end();
  const two = await openInstance('two');
  two.run();
  await until(() => two.terms.length === 1);
  await systemClock.sleep(1_000);
  expect(await linkOf(uid)).toBe('up');
  await until(async () => (await linkOf(uid)) === 'silent');
});

test('an observer that stood still and goes on can change nothing of what its successor knows', async () => {
  const uid = await addHost('h');
  const [one, two] = [await openInstance('one'), await openInstance('two')];
  const stopped = { epoch: 1, signal: new AbortController().signal, isHeld: () => false };
  const unfenced = { ...stopped, isHeld: () => true };
  await one.facts.link(uid, { link: 'up', newSession: true, silentMs: 0 }, unfenced);
  two.run();
  await until(() => two.terms.length === 1);
  const later = { epoch: 2, signal: stopped.signal, isHeld: () => true };
  await two.facts.link(uid, { link: 'up', newSession: true, silentMs: 0 }, later);
  const before = await recordOf(uid);
  const lost = { kind: 'conflict', reason: 'LEASE_LOST' };
  const silent = { link: 'disconnected', newSession: false, silentMs: 90_000 } as const;
  const capabilities = HostCapabilities.fromPartial({ host: 'h', cpus: 1 });
  // Even one that believes it still holds the lease is refused by the host's own record.
  for (const term of [stopped, unfenced]) {
    await expect(one.facts.link(uid, silent, term)).rejects.toMatchObject(lost);
    await expect(one.facts.write(uid, capabilities, term)).rejects.toMatchObject(lost);
  }
  expect(await recordOf(uid)).toMatchObject({ link: before?.link, facts: before?.facts });
  expect((await world.inventory.ledgers.get(uid))?.value.capacity.vcpus).toBe(4);
});

test('an observer whose lease cannot be renewed stops before the other begins, and calls nobody silent', async () => {
  const uid = await addHost('h');
  const [one, two] = [await openInstance('one'), await openInstance('two')];
  one.run();
  await until(() => world.agent.open === 1);
  const stalled = Promise.withResolvers<void>();
  one.stall.gate = stalled.promise;
  two.run();
  await until(() => two.terms.length > 0);
  const now = () => [...one.terms, ...two.terms].filter(({ over }) => !over).length;
  expect(one.terms.every(({ over }) => over)).toBe(true);
  one.clock.movedMs += 61_000;
  stalled.resolve();
  await until(async () => ((await recordOf(uid))?.observerEpoch ?? 0) >= (two.terms[0]?.epoch ?? 0));
  for (let look = 0; look < 100; look += 1) {
    expect(now()).toBeLessThanOrEqual(1);
    expect(await linkOf(uid)).toBe('up');
    await systemClock.sleep(10);
  }
});

test('silence that was the own standstill is nobody else\u2019s', async () => {
  const uid = await addHost('h');
  const one = await openInstance('one');
  const beating = { epoch: 1, signal: new AbortController().signal, isHeld: () => true };
  const stop = new AbortController();
  const observing = one.links.observe({ ...beating, signal: stop.signal });
  await until(async () => (await recordOf(uid))?.observerEpoch === 1);
  const links = new Set<HostLink | undefined>();
  one.clock.movedMs += 61_000;
  for (let look = 0; look < 150; look += 1) {
    links.add(await linkOf(uid));
    await systemClock.sleep(10);
  }
  stop.abort();
  await observing;
  expect(links).toEqual(new Set(['up']));
});

test('a host added through one instance is reached from the other, and linked by whichever observes', async () => {
  const [one, two] = [await openInstance('one'), await openInstance('two')];
  one.run();
  await until(() => one.terms.length === 1);
  const uid = await addHost('h', { link: 'connecting' });
  expect((await two.links.hypervisor(uid)).host).toBe('h');
  expect(await two.links.linkNow(uid)).toBe('connecting');
  expect(await one.fleet.refresh([uid])).toBe(true);
  one.links.hostsChanged();
  await until(async () => (await two.links.linkNow(uid)) === 'up');
  await world.inventory.ledgers.remove(uid);
  await world.inventory.hosts.remove(uid);
  expect(await one.fleet.refresh([uid])).toBe(true);
  await expect(two.links.hypervisor(newUid())).rejects.toMatchObject({ kind: 'not-found' });
});

test('room that the other instance gave back is found, room that it took is not taken twice', async () => {
  await addHost('h');
  const [one, two] = [await openInstance('one'), await openInstance('two')];
  const request = (vmUid: string) => ({ vmUid, zone: 'zones/z', needs, architecture: '' });
  const [first, second] = [newUid(), newUid()];
  await one.placement.place(request(first));
  // The other still believes that the host is empty: the claim is what counts.
  await expect(two.placement.place(request(second))).rejects.toMatchObject({ reason: 'NO_HOST_FITS' });
  await one.capacity.release(first);
  // And now that it is full.
  await two.placement.place(request(second));
  const claims = [];
  for await (const { vmUid } of one.capacity.all()) claims.push(vmUid);
  expect(claims).toEqual([second]);
});

test('a hundred VMs placed through two instances at once fill the hosts to the last place', async () => {
  for (let host = 0; host < 25; host += 1) await addHost(`h${host}`);
  const instances = [await openInstance('one'), await openInstance('two')];
  const small = { vcpus: 1, memoryBytes: 1, diskBytes: 1 };
  const place = async (at: number): Promise<void> => {
    const request = { vmUid: newUid(), zone: 'zones/z', needs: small, architecture: '' };
    for (;;) {
      try {
        await instances[at % 2]?.placement.place(request);
        return;
      } catch (error) {
        // Hosts that fill up faster than one could be claimed: asked for again, as a job does.
        expect(error).toMatchObject({ reason: 'CAPACITY_EXHAUSTED' });
      }
    }
  };
  await Promise.all(Array.from({ length: 100 }, (_, at) => place(at)));
  let claims = 0;
  for await (const _claim of instances[0]?.capacity.all() ?? []) claims += 1;
  expect(claims).toBe(100);
});

test('what is shown of a host rests on the newest ledger, whichever instance projects it last', async () => {
  const uid = await addHost('h');
  const { hosts, ledgers } = world.inventory;
  const projectors = [0, 1].map(
    () => new HostProjector({ hosts, ledgers, changed: () => undefined, clock: systemClock, log }),
  );
  const one = await openInstance('one');
  const tiny = { vcpus: 0, memoryBytes: 1, diskBytes: 0 };
  for (let round = 1; round <= 40; round += 1) {
    await one.capacity.claim(uid, { vmUid: newUid(), ...tiny });
    projectors[round % 2]?.touch(uid);
  }
  for (const projector of projectors) await projector[Symbol.asyncDispose]();
  await until(async () => (await recordOf(uid))?.vmCount === 40);
});

test('of two changes of a cluster on two instances the last one stands on every host', async () => {
  const { inventory } = world;
  const clusterUid = newUid();
  const named = { displayName: 'c', owner: '', zone: 'zones/z', labels: {}, annotations: {} };
  const header = newHeader(clusterUid, named, systemClock);
  const pod = `pods/${newUid()}`;
  await inventory.clusters.insert(clusterUid, {
    header,
    pod,
    cpuOvercommitRatio: 1,
    memoryOvercommitRatio: 1,
  });
  const cluster = `clusters/${clusterUid}`;
  const uids = [await addHost('one', { cluster }), await addHost('two', { cluster })];
  const [one, two] = [await openInstance('one'), await openInstance('two')];
  const change = async (instance: typeof one, cpuOvercommitRatio: number): Promise<void> => {
    const stored = await inventory.clusters.modify(clusterUid, (value) => ({ ...value, cpuOvercommitRatio }));
    await applyOvercommit(inventory, instance.fleet, stored.value);
  };
  for (let round = 0; round < 10; round += 1) {
    await Promise.all([change(one, 2 + round), change(two, 20 + round)]);
    const wanted = (await inventory.clusters.get(clusterUid))?.value.cpuOvercommitRatio;
    for (const uid of uids) expect((await inventory.ledgers.get(uid))?.value.overcommit.cpu).toBe(wanted);
  }
});
