/** Links to agents on a real store: a write that failed is made good, observers hear of each change, sessions follow. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { WatchObservationsResponse } from '@nephos/proto/nephos/plugin/v1/hypervisor';
import {
  type Clients,
  type Clock,
  type Logger,
  newHeader,
  newUid,
  systemClock,
  Unavailable,
} from '@nephos/service';
import { openStore } from '@nephos/store';
import { DirectoryAgentLinks } from '../src/adapters/agent-links.ts';
import { Fleet } from '../src/adapters/fleet.ts';
import { HostFactsWriter } from '../src/adapters/host-facts.ts';
import { openLedger } from '../src/adapters/host-ledger.ts';
import { openInventory } from '../src/inventory.ts';
import type { HostLink } from '../src/ports.ts';

const log = { info() {}, warn() {}, error() {} } as unknown as Logger;
const nothing = { vcpus: 0, memoryBytes: 0, diskBytes: 0 };
let world: Awaited<ReturnType<typeof open>>;
beforeEach(async () => {
  world = await open();
});
afterEach(() => world.stack.disposeAsync());

/** An agent that beats as fast as it is read, until `silent`. Counts the sessions that are open at once. */
class BeatingAgent {
  open = 0;
  mostOpen = 0;
  sessions = 0;
  silent = false;

  clients(): Clients {
    const client = {
      getCapabilities: async () => {
        this.sessions += 1;
        return { hosts: [] };
      },
      watchObservations: (_request: object, { signal }: { signal: AbortSignal }) => this.#watch(signal),
    };
    return { of: () => client } as unknown as Clients;
  }

  async *#watch(signal: AbortSignal) {
    this.open += 1;
    this.mostOpen = Math.max(this.mostOpen, this.open);
    try {
      for (let beat = 0; ; beat += 1) {
        signal.throwIfAborted();
        const cursor = `s:${beat}`;
        if (!this.silent)
          yield WatchObservationsResponse.fromPartial({ cursor, snapshotComplete: beat === 0 });
        await systemClock.sleep(10, signal);
      }
    } finally {
      this.open -= 1;
    }
  }
}

async function open() {
  const stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'nephos-links-'));
  stack.defer(() => rm(folder, { recursive: true }));
  const clock: Clock = systemClock;
  const store = stack.use(await openStore({ url: `sqlite://${folder}/o.db`, clock }));
  const inventory = await openInventory(store, 'orchestrator', clock);
  const fleet = new Fleet(inventory.hosts, inventory.ledgers);
  const facts = new FailingFacts(inventory.hosts, inventory.ledgers, fleet, clock);
  const agent = new BeatingAgent();
  const options = { fleet, facts, clients: agent.clients(), clock, log };
  const links = new DirectoryAgentLinks({ ...options, silentAfterMs: 60_000, disconnectedAfterMs: 120_000 });
  const term = new AbortController();
  const observing = links.observe({ epoch: 1, signal: term.signal, isHeld: () => true });
  stack.defer(() => observing);
  stack.defer(() => term.abort());
  const heard: HostLink[] = [];
  const addHost = async (agentHost: string): Promise<string> => {
    const uid = newUid();
    const named = { displayName: agentHost, owner: '', zone: 'zones/z', labels: {}, annotations: {} };
    const host = await inventory.hosts.insert(uid, {
      header: newHeader(uid, named, clock),
      cluster: `clusters/${newUid()}`,
      agentId: 'a',
      agentHost,
      link: 'connecting',
      admin: 'enabled',
      health: 'healthy',
      adminReason: '',
      sessionEpoch: 0,
      facts: { capacity: nothing, hypervisor: '', accelerator: '', architecture: '' },
      allocated: nothing,
      vmCount: 0,
      unmanaged: [],
    });
    await openLedger(inventory, uid);
    const ledger = await inventory.ledgers.get(uid);
    if (ledger) fleet.added(host, ledger);
    links.hostsChanged();
    return uid;
  };
  return { stack, fleet, facts, agent, links, heard, addHost };
}

/** As if the store were away for the next writes of a link. */
class FailingFacts extends HostFactsWriter {
  failures = 0;

  override async link(...all: Parameters<HostFactsWriter['link']>): Promise<void> {
    if (this.failures > 0) {
      this.failures -= 1;
      throw new Unavailable('STORAGE_FAILED', 'the store is away');
    }
    await super.link(...all);
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await systemClock.sleep(10);
}

test('a link that could not be recorded is recorded once the store is back', async () => {
  const { facts, links, addHost } = world;
  facts.failures = 3;
  const uid = await addHost('h');
  await until(() => links.linkOf(uid) === 'up');
  expect(facts.failures).toBe(0);
});

test('an observer that failed is told of the change again', async () => {
  const { links, addHost } = world;
  let calls = 0;
  const told = Promise.withResolvers<HostLink>();
  links.onLink(async (_hostUid, link) => {
    calls += 1;
    if (calls === 1) throw new Unavailable('STORAGE_FAILED', 'the store is away');
    told.resolve(link);
  });
  await addHost('h');
  expect(await told.promise).toBe('up');
});

test('a host added while its agent is up gets its link; the old session ends before the new one begins', async () => {
  const { agent, links, addHost } = world;
  const uids: string[] = [];
  for (const name of ['h1', 'h2', 'h3']) {
    const uid = await addHost(name);
    uids.push(uid);
    await until(() => links.linkOf(uid) === 'up');
  }
  for (const uid of uids) expect(links.linkOf(uid)).toBe('up');
  expect(agent.sessions).toBeGreaterThanOrEqual(3);
  expect(agent.mostOpen).toBe(1);
});
