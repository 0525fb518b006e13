// Components outside the platform live on events alone: a usage meter in TypeScript and an inventory in Python, neither
// with code of the platform. Each is killed in the middle, started again, and compared with the platform's records.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { natsOptions } from '@nephos/events/testing';
import type { EventSlice } from '@nephos/proto/nephos/events/v1/credential';
import { VmStatus_State as State } from '@nephos/proto/nephos/orchestration/v1/vm';
import {
  type Ground,
  layGround,
  nameOf,
  type Platform,
  startPlatform,
  succeeded,
  until,
} from '@nephos/testing';

const outside = path.join(import.meta.dirname, 'outside');
const python = path.join(import.meta.dirname, '../.cache/python');

let platform: Platform;
let ground: Ground;
let folder: string;
const children = new Set<ChildProcess>();

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'nephos-outside-'));
  platform = await startPlatform();
  ground = await layGround(platform);
});
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await platform[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

async function deploy(owner: string, displayName: string, vcpus: number): Promise<string> {
  const { zone, template } = ground;
  const header = { displayName, zone, owner, labels: { tier: owner } };
  const spec = { vcpus, memoryBytes: 2n ** 27n, template };
  await succeeded(platform.api, await platform.api.vms.createVm({ vm: { header, spec } }));
  return nameOf((await platform.api.vms.listVms({ filter: `display_name = "${displayName}"` })).vms[0]);
}

async function credsFile(displayName: string, slice: Partial<EventSlice>): Promise<string> {
  const { creds } = await platform.api.credentials.createEventCredential({
    credential: { header: { displayName }, slice },
  });
  const file = path.join(folder, `${displayName}.creds`);
  await writeFile(file, creds, { mode: 0o600 });
  return file;
}

/** Resolves once it says that it follows. */
async function start(
  command: string,
  args: readonly string[],
  env: Record<string, string>,
): Promise<ChildProcess> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  children.add(child);
  let said = '';
  await new Promise<void>((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        if (said.includes(' known; ')) resolve();
      });
    }
    child.once('exit', () => reject(new Error(`${command} ended: ${said}`)));
  });
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

interface Usage {
  readonly owner: string;
  readonly vcpus: number;
  readonly ranMs: number;
  readonly runningSince?: number;
  readonly sequence: number;
}

test('a usage meter knows what ran, for how long and for whom', async () => {
  const { api, nats } = platform;
  const ledger = path.join(folder, 'usage.json');
  const creds = await credsFile('meter', { entity: 'vm' });
  const meter = () =>
    start(
      process.execPath,
      [
        path.join(outside, 'usage-meter/usage-meter.ts'),
        '--creds',
        creds,
        '--ledger',
        ledger,
        '--server',
        nats.url,
      ],
      { NODE_OPTIONS: '--disable-warning=ExperimentalWarning' },
    );
  const [anns, bobs] = [await deploy('ann', 'before', 1), await deploy('bob', 'bobs', 2)];
  const first = await meter();
  await succeeded(api, await api.vms.stopVm({ name: anns }));
  // In the middle of it, with the rest of it unseen.
  const restarting = api.vms.startVm({ name: anns }).then((operation) => succeeded(api, operation));
  await kill(first);
  await restarting;
  await succeeded(api, await api.vms.stopVm({ name: bobs }));
  await succeeded(api, await api.vms.expungeVm({ name: bobs }));
  const second = await meter();
  await nats.kill();
  await nats.restart();
  const latecomer = await deploy('cyd', 'late', 4);

  const [annUid = '', bobUid = '', cydUid = ''] = [anns, bobs, latecomer].map((name) =>
    name.slice('vms/'.length),
  );
  const read = async () => (JSON.parse(await readFile(ledger, 'utf8')) as { vms: Record<string, Usage> }).vms;
  const metered = await until(async () => {
    const [vms, events] = [await read(), await vmEvents()];
    const isDone = (uid: string) => vms[uid]?.sequence === events.get(uid)?.at(-1)?.sequence;
    return [annUid, bobUid, cydUid].every(isDone) && vms;
  });
  const bootOf = async (name: string) => (await api.vms.getVm({ name })).status?.bootTime?.getTime();
  expect(metered[annUid]).toMatchObject({ owner: 'ann', vcpus: 1, runningSince: await bootOf(anns) });
  expect(metered[cydUid]).toMatchObject({
    owner: 'cyd',
    vcpus: 4,
    ranMs: 0,
    runningSince: await bootOf(latecomer),
  });
  expect(metered[bobUid]).toMatchObject({ owner: 'bob', vcpus: 2 });
  expect(metered[bobUid]?.runningSince).toBeUndefined();
  // Against what the events say, all of them read anew by other means.
  const events = await vmEvents();
  for (const uid of [annUid, bobUid])
    expect([uid, metered[uid]?.ranMs]).toEqual([uid, ranMs(events.get(uid))]);
  expect(metered[annUid]?.ranMs).toBeGreaterThan(0);
  expect((await api.vms.getVm({ name: anns })).status?.state).toBe(State.RUNNING);
  await kill(second);
});

test('an inventory in Python has what the platform has', async () => {
  if (!existsSync(path.join(python, 'nats'))) {
    process.stdout.write(
      '  NOT RUN: nats-py is not here (npm run setup gets it where Python with pip is), so no inventory\n',
    );
    return;
  }
  const { api, nats } = platform;
  const table = path.join(folder, 'inventory.csv');
  const creds = await credsFile('inventory', { zone: ground.zone });
  const inventory = () =>
    start(
      'python3',
      [path.join(outside, 'inventory/inventory.py'), '--creds', creds, '--out', table, '--server', nats.url],
      {
        PYTHONPATH: python,
      },
    );
  await deploy('dee', 'one', 1);
  const first = await inventory();
  const making = deploy('dee', 'two', 1);
  await kill(first);
  const two = await making;
  await succeeded(
    api,
    await api.vms.expungeVm({ name: two }).catch(async () => {
      await succeeded(api, await api.vms.stopVm({ name: two }));
      return await api.vms.expungeVm({ name: two });
    }),
  );
  const second = await inventory();
  await deploy('eve', 'three', 2);
  const records = await recorded();
  const rows = await until(async () => {
    const found = await readTable(table);
    return JSON.stringify(found) === JSON.stringify(records) && found;
  });
  expect(rows).toEqual(records);
  expect(rows.length).toBeGreaterThan(8);
  expect(rows.some((row) => row.startsWith(two))).toBe(false);
  await kill(second);
});

interface VmEvent {
  readonly sequence: number;
  readonly time: number;
  readonly runs: boolean;
  readonly boot: number;
}

/** Each VM's events in order, as the stream holds them. */
async function vmEvents(): Promise<Map<string, VmEvent[]>> {
  await using connection = await connect(natsOptions(platform.nats));
  const jsm = await jetstreamManager(connection, { timeout: 60_000 });
  const { state } = await jsm.streams.info('NEPHOS_EVENTS');
  const found = new Map<string, VmEvent[]>();
  for (let seq = state.first_seq; seq <= state.last_seq; seq += 1) {
    const message = await jsm.streams.getMessage('NEPHOS_EVENTS', { seq });
    const [, , , , entity, uid = ''] = message?.subject.split('.') ?? [];
    if (!message || entity !== 'vm') continue;
    const { sequence, time, data } = message.json<{
      sequence: string;
      time: string;
      data: { new?: { status?: { state?: string; bootTime?: string } } };
    }>();
    const { state: word, bootTime = time } = data.new?.status ?? {};
    const event = { sequence: Number(sequence), time: Date.parse(time), runs: word === 'STATE_RUNNING' };
    found.set(uid, [...(found.get(uid) ?? []), { ...event, boot: Date.parse(bootTime) }]);
  }
  return found;
}

/** Of the runs that are over: from its boot to the first event that says it does not run. */
function ranMs(events: readonly VmEvent[] = []): number {
  let ran = 0;
  for (const [at, { runs, time }] of events.entries()) {
    const before = events[at - 1];
    if (before?.runs && !runs) ran += time - before.boot;
  }
  return ran;
}

/** What the platform says that it has in the zone: name, display name and owner. */
async function recorded(): Promise<string[]> {
  const { api } = platform;
  const all = [
    (await api.zones.listZones({})).zones,
    (await api.pods.listPods({})).pods,
    (await api.clusters.listClusters({})).clusters,
    (await api.hosts.listHosts({})).hosts,
    (await api.vms.listVms({})).vms,
    (await api.volumes.listVolumes({})).volumes,
    (await api.templates.listTemplates({})).templates,
  ].flat();
  return all
    .filter(({ header }) => header?.zone === ground.zone)
    .map(({ header }) => `${header?.name} ${header?.displayName} ${header?.owner}`)
    .toSorted();
}

async function readTable(file: string): Promise<string[]> {
  const [, ...lines] = (await readFile(file, 'utf8')).trim().split('\r\n');
  return lines
    .map((line) => line.split(','))
    .map(([, name, displayName, owner]) => `${name} ${displayName} ${owner}`)
    .toSorted();
}
