/**
 * What may befall a cluster of three brokers, a scenario each, under load: one of them killed, the leader of a stream
 * first; one away for a while; each restarted in turn; two gone at once, so that nobody decides. Events wait then, and
 * nothing else does: writes go on, none is lost, told twice or out of order, and nothing has to be stated again.
 * The control has one copy of everything, and its server comes back with an empty disk.
 */
import { type ChildProcess } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { follow, streams } from '@nephos/events';
import type { NatsCluster, NatsServer } from '@nephos/events/testing';
import { systemClock } from '@nephos/service';
import { openStore } from '@nephos/store';
import { connectTo } from './broker.ts';
import type { Load } from './load.ts';
import { problemsOf } from './run.ts';
import { type Choices, seeded } from './seeded.ts';
import { end, type Findings, keptIn, rest, told, World } from './world.ts';

type ClusterWorld = World<NatsCluster>;

export interface ClusterReport {
  readonly seed: number;
  readonly scenario: string;
  readonly kills: number;
  readonly load: Load | undefined;
  readonly findings: Findings;
  readonly problems: readonly string[];
}

/** A leader is elected within ten seconds; what waited meanwhile comes after. */
const patienceMs = 60_000;

/** Returns how many servers were taken down. */
type Scenario = (world: ClusterWorld, choices: Choices) => Promise<number>;

async function leaderKilled({ nats }: ClusterWorld, choices: Choices): Promise<number> {
  for (let round = 0; round < 3; round += 1) {
    await systemClock.sleep(300 + choices.below(700));
    const leader = await nats.leaderOf(choices.chance(0.7) ? streams.events : streams.state);
    await leader.kill();
    await systemClock.sleep(choices.below(3_000));
    await leader.restart();
    if (round < 2) await nats.whole();
  }
  return 3;
}

/** Long enough that the others go on without it, and that it has much to make up for. */
async function nodeAway({ nats }: ClusterWorld, choices: Choices): Promise<number> {
  await systemClock.sleep(choices.below(500));
  const server = chosen(nats.servers, choices);
  await server.kill();
  await systemClock.sleep(10_000 + choices.below(5_000));
  await server.restart();
  await systemClock.sleep(1_000);
  return 1;
}

async function rollingRestart({ nats }: ClusterWorld, choices: Choices): Promise<number> {
  for (const server of nats.servers) {
    await systemClock.sleep(choices.below(500));
    await server.restart('SIGTERM');
    await nats.whole();
  }
  return nats.servers.length;
}

async function majorityLost({ nats }: ClusterWorld, choices: Choices): Promise<number> {
  const two = nats.servers.toSpliced(choices.below(3), 1);
  for (const server of two) await server.kill();
  await systemClock.sleep(2_000 + choices.below(6_000));
  for (const server of two) await server.restart();
  await systemClock.sleep(choices.below(2_000));
  return 2;
}

const scenarios: Readonly<Record<string, Scenario>> = {
  leaderKilled,
  nodeAway,
  rollingRestart,
  majorityLost,
};
const names = Object.keys(scenarios);

export async function runClusterSeed(seed: number): Promise<ClusterReport> {
  const scenario = names[seed % names.length] ?? 'leaderKilled';
  await using world = await World.onCluster(3);
  await using _ = world.subscribe();
  using followed = following(world);
  const source = await world.source(seed);
  await told(source, 'ready');
  const kills = (await scenarios[scenario]?.(world, seeded(seed))) ?? 0;
  const refused = hasEnded(source) ? ['the writer ended: a write was refused'] : [];
  const load = await rest(world, seed, source);
  const findings = await world.findings({ patienceMs });
  const unfollowed = await followed.missing(world);
  const problems = [...refused, ...problemsOf(findings), ...statedAgain(findings), ...unfollowed];
  return { seed, scenario, kills, load, findings, problems };
}

/** One copy, whose server loses its disk. Returns what is found wrong. */
export async function runControl(seed: number): Promise<readonly string[]> {
  await using world = await World.onCluster(1);
  await using _ = world.subscribe();
  const source = await world.source(seed);
  await told(source, 'ready');
  await systemClock.sleep(2_000);
  const leader = await world.nats.leaderOf(streams.events);
  await leader.kill();
  await rm(`${world.nats.folderOf(leader)}/jetstream`, { recursive: true });
  await leader.restart();
  const resting = new AbortController();
  const late = systemClock.sleep(patienceMs, resting.signal).then(
    () => 'late' as const,
    () => undefined,
  );
  const first = await Promise.race([rest(world, seed, source), late]);
  resting.abort();
  if (first === 'late') {
    await end(source);
    return ['events stopped'];
  }
  const findings = await world.findings();
  return [...problemsOf(findings), ...statedAgain(findings)];
}

/** With copies nothing was lost that would have to be stated anew. */
function statedAgain({ resynced, restated }: Findings): string[] {
  return [
    ...(resynced > 0 ? [`${resynced} resynced`] : []),
    ...(restated > 0 ? [`${restated} stated again`] : []),
  ];
}

interface Following extends Disposable {
  missing(world: ClusterWorld): Promise<string[]>;
}

/** A follower, which keeps no position at the broker. */
function following(world: ClusterWorld): Following {
  const over = new AbortController();
  const last = new Map<string, number>();
  void (async () => {
    await using bus = await connectTo(world.nats, systemClock, 3);
    for await (const item of follow(bus, { filter: { entity: 'zone' }, signal: over.signal }))
      if ('event' in item) last.set(item.event.uid, item.event.sequence);
  })();
  return {
    async missing() {
      await using store = await openStore({ url: world.storeUrl, clock: systemClock });
      const kept = await keptIn(store);
      const giveUpAt = systemClock.monotonic() + patienceMs;
      for (;;) {
        const behind = [...kept].filter(([uid, { counter }]) => last.get(uid) !== counter);
        if (behind.length === 0) return [];
        if (systemClock.monotonic() > giveUpAt) return [`${behind.length} entities not followed to the end`];
        await systemClock.sleep(100);
      }
    },
    [Symbol.dispose]: () => over.abort(),
  };
}

function chosen(servers: readonly NatsServer[], choices: Choices): NatsServer {
  const server = servers[choices.below(servers.length)];
  if (!server) throw new Error('a cluster without servers');
  return server;
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

export function clusterLine({ seed, scenario, kills, load, findings, problems }: ClusterReport): string {
  const { events, stream, handler, resynced, restated } = findings;
  const told = `${events} events, lost ${handler.lost}, doubled ${handler.doubled}, disordered ${handler.disordered}`;
  const raw = `in the stream ${stream.lost}/${stream.doubled}/${stream.disordered}, resynced ${resynced}, restated ${restated}`;
  const writes = `${load?.writes ?? 0} writes, the slowest ${load?.slowestMs ?? 0} ms`;
  const verdict = problems.length === 0 ? 'ok' : `WRONG: ${problems.join(', ')}`;
  return `seed ${seed} ${scenario}, ${kills} down: ${told}; ${raw}; ${writes}: ${verdict}`;
}
