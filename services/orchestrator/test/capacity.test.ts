/** Claims, ledgers and the fleet on a real store: what two at once, a crash or a deletion between must not break. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { newHeader, newUid, systemClock } from '@nephos/service';
import { openStore } from '@nephos/store';
import { StoredCapacity } from '../src/adapters/capacity.ts';
import { Fleet } from '../src/adapters/fleet.ts';
import { closeLedger, openLedger, openLedgers } from '../src/adapters/host-ledger.ts';
import { ClaimingPlacement } from '../src/adapters/placement.ts';
import { openInventory } from '../src/inventory.ts';
import type { HostRecord } from '../src/records/host.ts';

const capacityOfHost = { vcpus: 4, memoryBytes: 1000, diskBytes: 1000 };
const nothing = { vcpus: 0, memoryBytes: 0, diskBytes: 0 };
const needs = { vcpus: 1, memoryBytes: 100, diskBytes: 100 };

let world: Awaited<ReturnType<typeof open>>;
beforeEach(async () => {
  world = await open();
});
afterEach(() => world.stack.disposeAsync());

async function open() {
  const stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'nephos-capacity-'));
  stack.defer(() => rm(folder, { recursive: true }));
  const store = stack.use(await openStore({ url: `sqlite://${folder}/o.db`, clock: systemClock }));
  const inventory = await openInventory(store, 'orchestrator', systemClock);
  const fleet = new Fleet(inventory.hosts, inventory.ledgers);
  const capacity = new StoredCapacity(inventory.ledgers, inventory.claimPointers, (uid, ledger) =>
    fleet.ledgerChanged(uid, ledger),
  );
  const addHost = async (displayName: string): Promise<string> => {
    const uid = newUid();
    await inventory.hosts.insert(uid, hostRecord(uid, displayName));
    await openLedger(inventory, uid);
    return uid;
  };
  return { stack, inventory, fleet, capacity, addHost };
}

function hostRecord(uid: string, displayName: string): HostRecord {
  const named = { displayName, owner: '', zone: 'zones/z', labels: {}, annotations: {} };
  return {
    header: newHeader(uid, named, systemClock),
    cluster: `clusters/${newUid()}`,
    agentId: 'a',
    agentHost: displayName,
    link: 'up',
    admin: 'enabled',
    health: 'healthy',
    adminReason: '',
    sessionEpoch: 1,
    facts: { capacity: capacityOfHost, hypervisor: '', accelerator: '', architecture: '' },
    allocated: nothing,
    vmCount: 0,
    unmanaged: [],
  };
}

async function claimsOf(vmUid: string): Promise<string[]> {
  const hosts: string[] = [];
  for await (const claim of world.capacity.all()) if (claim.vmUid === vmUid) hosts.push(claim.hostUid);
  return hosts;
}

test('a host deleted after it was proposed is passed over, not the end of the placement', async () => {
  const { capacity, inventory, addHost } = world;
  const [gone, there] = [await addHost('gone'), await addHost('there')];
  await closeLedger(inventory, gone);
  const plan = async ({ excludedHosts }: { excludedHosts: ReadonlySet<string> }) => ({
    candidates: [gone, there]
      .filter((uid) => !excludedHosts.has(uid))
      .map((hostUid) => ({ hostUid, score: 1 })),
    rejections: [],
    considered: 2,
    closestMiss: '',
  });
  const request = { vmUid: newUid(), zone: 'zones/z', needs, architecture: '' };
  expect(await new ClaimingPlacement(plan, plan, capacity).place(request)).toEqual({ hostUid: there });
});

test.each([
  [['link'], 'unavailable'],
  [['link', 'admin', 'zone'], 'unavailable'],
  [['link', 'memory'], 'exhausted'],
  [['admin'], 'exhausted'],
])(
  'a create that finds hosts rejected for %j is refused as %s: agents that are away may be back',
  async (reasons, kind) => {
    const rejections = reasons.map((reason) => ({ reason, hosts: 1 }));
    const plan = async () => ({ candidates: [], rejections, considered: 3, closestMiss: '' });
    const request = { vmUid: newUid(), zone: 'zones/z', needs, architecture: '' };
    await expect(new ClaimingPlacement(plan, plan, world.capacity).place(request)).rejects.toMatchObject({
      kind,
      reason: 'NO_HOST_FITS',
    });
  },
);

test('a claim comes before a deletion or not at all', async () => {
  const { capacity, inventory, addHost } = world;
  for (let round = 0; round < 20; round += 1) {
    const hostUid = await addHost(`h${round}`);
    const vmUid = newUid();
    const [claimed, left] = await Promise.all([
      capacity.claim(hostUid, { vmUid, ...needs }),
      closeLedger(inventory, hostUid),
    ]);
    expect(left).toBe(claimed ? 1 : 0);
    expect(await claimsOf(vmUid)).toEqual(claimed ? [hostUid] : []);
  }
});

test('two executors that place one VM at once leave one claim, and the pointer leads to it', async () => {
  const { capacity, inventory, addHost } = world;
  const hosts = [await addHost('one'), await addHost('two')];
  for (let round = 0; round < 10; round += 1) {
    const vmUid = newUid();
    const claim = (hostUid: string) =>
      capacity.claim(hostUid, { vmUid, vcpus: 0, memoryBytes: 1, diskBytes: 1 });
    const results = await Promise.allSettled(hosts.map(claim));
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ kind: 'conflict' });
    }
    const held = await claimsOf(vmUid);
    expect(held.length).toBeLessThanOrEqual(1);
    if (held.length === 1) expect((await inventory.claimPointers.get(vmUid))?.value.hostUid).toBe(held[0]);
    await capacity.release(vmUid);
    expect(await claimsOf(vmUid)).toEqual([]);
  }
});

test('what was given back is not claimed again by a late resize', async () => {
  const { capacity, addHost } = world;
  const hostUid = await addHost('h');
  const vmUid = newUid();
  await capacity.claim(hostUid, { vmUid, ...needs });
  await capacity.release(vmUid);
  await expect(capacity.resize(hostUid, { vmUid, ...nothing, diskBytes: 1 })).rejects.toMatchObject({
    kind: 'not-found',
  });
  expect(await claimsOf(vmUid)).toEqual([]);
});

test('a claim that no pointer leads to can be given back', async () => {
  const { capacity, inventory, addHost } = world;
  const [pointed, forgotten] = [await addHost('pointed'), await addHost('forgotten')];
  const vmUid = newUid();
  await capacity.claim(forgotten, { vmUid, ...needs });
  await inventory.claimPointers.remove(vmUid);
  await capacity.claim(pointed, { vmUid, ...needs });
  await capacity.releaseOn(forgotten, vmUid);
  expect(await claimsOf(vmUid)).toEqual([pointed]);
  await capacity.releaseOn(pointed, vmUid);
  expect(await claimsOf(vmUid)).toEqual([]);
  expect(await inventory.claimPointers.get(vmUid)).toBeUndefined();
});

test('a host whose making or deletion a crash cut short has a ledger again after the start', async () => {
  const { inventory, addHost } = world;
  const hostUid = await addHost('h');
  await closeLedger(inventory, hostUid);
  await openLedgers(inventory);
  expect((await inventory.ledgers.get(hostUid))?.value).toMatchObject({
    capacity: capacityOfHost,
    claims: {},
  });
});

test('a host added or removed while the fleet is read anew is neither lost nor back', async () => {
  const { inventory, fleet, addHost } = world;
  const removed = await addHost('removed');
  await fleet.resync();
  const uid = newUid();
  const resync = fleet.resync();
  fleet.removed(removed);
  const host = { id: uid, revision: 1, eventSeq: 1, value: hostRecord(uid, 'added') };
  const ledger = await inventory.ledgers.insert(uid, {
    capacity: capacityOfHost,
    overcommit: { cpu: 1, memory: 1 },
    claims: {},
  });
  fleet.added(host, ledger);
  await resync;
  expect(fleet.views().map((view) => view.uid)).toEqual([uid]);
  fleet.hostChanged({ ...host, revision: 3, value: { ...host.value, admin: 'cordoned' } });
  fleet.hostChanged({ ...host, revision: 2 });
  expect(fleet.record(uid)?.admin).toBe('cordoned');
});
