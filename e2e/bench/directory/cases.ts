/** What is measured of the directory: see docs/benchmarks.md for why the peer is a fair one. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { startNatsServer } from '@nephos/events/testing';
import { Child, type Commands, sharedNow } from '../child.ts';
import { cpuOf, residentMiB } from '../machine.ts';
import type { Case, Figure, Measured, Round, Scale, Sides } from '../paired.ts';
import { median, percentile } from '../statistics.ts';
import {
  firstNewNumber,
  type InstancesCommands,
  type MemberCommands,
  type ObserverCommands,
  type ServerCommands,
  type WatchersCommands,
  watchedInstances,
} from './commands.ts';
import { startEtcd } from './etcd-server.ts';

const peerName = 'etcd of Debian: keys under leases, watches';

function start<C extends Commands>(name: string, ...args: string[]): Promise<Child<C>> {
  return Child.start<C>(path.join(import.meta.dirname, `${name}-process.ts`), args);
}

/** A running directory: where it answers, and the processes that it is made of. */
interface Server {
  readonly target: string;
  readonly pids: readonly number[];
}

async function startOurServer(open: AsyncDisposableStack): Promise<Server> {
  const broker = open.use(await startNatsServer());
  const server = open.use(await start<ServerCommands>('our-server', broker.url, await folder(open)));
  return { target: await server.ask('address', undefined), pids: [server.pid, broker.pid] };
}

async function startEtcdServer(open: AsyncDisposableStack): Promise<Server> {
  const { target, pid } = open.use(await startEtcd());
  return { target, pids: [pid] };
}

async function folder(open: AsyncDisposableStack): Promise<string> {
  const made = await mkdtemp(path.join(tmpdir(), 'nephos-bench-'));
  open.defer(() => rm(made, { recursive: true, force: true }));
  return made;
}

async function bothSides(
  ours: (open: AsyncDisposableStack) => Promise<Round>,
  peer: (open: AsyncDisposableStack) => Promise<Round>,
): Promise<Sides> {
  const open = new AsyncDisposableStack();
  try {
    return {
      ours: await ours(open),
      peer: await peer(open),
      [Symbol.asyncDispose]: () => open.disposeAsync(),
    };
  } catch (error) {
    await open.disposeAsync();
    throw error;
  }
}

/** Ours: a service that joined is killed; another that calls it follows the list. A third stays in it. */
async function ourKills(open: AsyncDisposableStack): Promise<Round> {
  const { target } = await startOurServer(open);
  open.use(await start<MemberCommands>('our-member', target, await folder(open)));
  const observer = open.use(await start<ObserverCommands>('our-observer', target, await folder(open)));
  return async () => {
    await using round = new AsyncDisposableStack();
    const member = round.use(await start<MemberCommands>('our-member', target, await folder(round)));
    const id = await member.ask('id', undefined);
    await observer.ask('listed', { id });
    await pause(Math.random() * killSpreadMs);
    const killed = sharedNow();
    member.kill();
    return { gone: ((await observer.ask('gone', { id })) - killed) / 1e6 };
  };
}

/** Kills fall anywhere between two renewals. */
const killSpreadMs = 1000;

async function etcdKills(open: AsyncDisposableStack): Promise<Round> {
  const { target } = await startEtcdServer(open);
  const observer = open.use(await start<WatchersCommands>('etcd-watchers', target));
  await observer.ask('open', { watchers: 1, instances: 0 });
  let number = firstNewNumber;
  return async () => {
    await using round = new AsyncDisposableStack();
    number += 1;
    const member = round.use(await start<MemberCommands>('etcd-member', target, String(number)));
    await observer.ask('seen', { number, state: 0 });
    await pause(Math.random() * killSpreadMs);
    const killed = sharedNow();
    member.kill();
    return { gone: ((await observer.ask('gone', { number })) - killed) / 1e6 };
  };
}

interface Crowd {
  readonly instances: number;
  readonly watchers: number;
  /** Instances that come and change in a round. */
  readonly samples: number;
  readonly restMs: number;
}

/** Instances register, a few more come and change while all watch; then what the servers cost at rest. */
async function crowdRound(
  open: AsyncDisposableStack,
  { target, pids }: Server,
  kind: 'our' | 'etcd',
  { instances: count, watchers: watching, samples, restMs }: Crowd,
): Promise<Round> {
  const instances = open.use(await start<InstancesCommands>(`${kind}-instances`, target));
  const watchers = open.use(await start<WatchersCommands>(`${kind}-watchers`, target));
  await instances.ask('register', { from: 0, count });
  await watchers.ask('open', { watchers: watching, instances: Math.min(count, watchedInstances) });
  let number = firstNewNumber;
  const cpu = (): number => pids.reduce((sum, pid) => sum + cpuOf(pid), 0);
  const timesOf = async (state: number): Promise<Float64Array> => {
    const seen = watchers.ask('seen', { number, state });
    const began = await (state === 0
      ? instances.ask('register', { from: number, count: 1 })
      : instances.ask('change', { number, state }));
    return (await seen).map((at) => (at - began) / 1e6);
  };
  return async (): Promise<Measured> => {
    const came: Float64Array[] = [];
    const changed: Float64Array[] = [];
    for (let sample = 0; sample < samples; sample += 1) {
      number += 1;
      came.push(await timesOf(0));
      changed.push(await timesOf(1));
    }
    const [before, began] = [cpu(), sharedNow()];
    await pause(restMs);
    const share = (cpu() - before) / ((sharedNow() - began) / 1e3);
    return {
      'register-p50': median(came.map((times) => percentile(times, 0.5))),
      'register-last': median(came.map((times) => percentile(times, 1))),
      'change-p50': median(changed.map((times) => percentile(times, 0.5))),
      'change-last': median(changed.map((times) => percentile(times, 1))),
      cpu: share * 100,
      memory: pids.reduce((sum, pid) => sum + residentMiB(pid), 0),
    };
  };
}

function startCrowds(crowd: Crowd): Promise<Sides> {
  return bothSides(
    async (open) => crowdRound(open, await startOurServer(open), 'our', crowd),
    async (open) => crowdRound(open, await startEtcdServer(open), 'etcd', crowd),
  );
}

const milliseconds = (name: string): Figure => ({ name, unit: 'ms', better: 'lower' });

export const cases: readonly Case[] = [
  {
    name: 'kill',
    about:
      'SIGKILL of an instance until a watcher has it no more; leases of 3 s, renewed as clients of each do',
    peerName,
    figures: [milliseconds('gone')],
    rounds: 7,
    warmUp: 0,
    start: () => bothSides(ourKills, etcdKills),
  },
  {
    name: 'crowd',
    about:
      '1,000 instances, 1,000 watchers of a service with 100 of them: until the median and the last has seen it',
    peerName,
    figures: [
      milliseconds('register-p50'),
      milliseconds('register-last'),
      milliseconds('change-p50'),
      milliseconds('change-last'),
      { name: 'cpu', unit: '% of a core at rest', better: 'lower' },
      { name: 'memory', unit: 'MiB', better: 'lower' },
    ],
    rounds: 7,
    warmUp: 1,
    start: (scale: Scale) =>
      startCrowds(
        scale === 'quick'
          ? { instances: 20, watchers: 20, samples: 1, restMs: 500 }
          : { instances: 1000, watchers: 1000, samples: 5, restMs: 2000 },
      ),
  },
];
