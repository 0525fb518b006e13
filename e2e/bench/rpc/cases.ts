/** What is measured of calls: see docs/benchmarks.md for why the peer is a fair one. */
import path from 'node:path';
import { Child, type Commands } from '../child.ts';
import type { Case, Figure, Measured, Round, Scale, Sides } from '../paired.ts';
import { percentile } from '../statistics.ts';
import type { Calls, ClientCommands, ServerCommands } from './commands.ts';

const peerName = 'bare @grpc/grpc-js with the same generated codecs';

const perMessage: readonly Figure[] = [
  { name: 'throughput', unit: 'messages/s', better: 'higher' },
  { name: 'cpu', unit: 'µs/message', better: 'lower' },
];
const perCall: readonly Figure[] = [
  { name: 'throughput', unit: 'calls/s', better: 'higher' },
  { name: 'p50', unit: 'ms', better: 'lower' },
  { name: 'p99', unit: 'ms', better: 'lower' },
  { name: 'cpu', unit: 'µs/call', better: 'lower' },
];

interface Pair {
  readonly server: Child<ServerCommands>;
  readonly client: Child<ClientCommands>;
}

function start<C extends Commands>(name: string, ...args: string[]): Promise<Child<C>> {
  return Child.start<C>(path.join(import.meta.dirname, `${name}-process.ts`), args);
}

async function startPair(open: AsyncDisposableStack, kind: 'our' | 'bare'): Promise<Pair> {
  const server = open.use(await start<ServerCommands>(`${kind}-server`));
  const port = await server.ask('port', undefined);
  const client = open.use(await start<ClientCommands>(`${kind}-client`, `127.0.0.1:${port}`));
  return { server, client };
}

type Kind = keyof ClientCommands;

function roundOf({ server, client }: Pair, kind: Kind, calls: Calls): Round {
  const cpu = async (): Promise<number> => (await server.cpu()) + (await client.cpu());
  return async (): Promise<Measured> => {
    const before = await cpu();
    const called = await client.ask(kind, calls);
    const each = ((await cpu()) - before) / calls.calls;
    if (typeof called === 'number') return { throughput: calls.calls / called, cpu: each };
    return {
      throughput: calls.calls / called.seconds,
      p50: percentile(called.times, 0.5),
      p99: percentile(called.times, 0.99),
      cpu: each,
    };
  };
}

async function startSides(kind: Kind, calls: Calls): Promise<Sides> {
  const open = new AsyncDisposableStack();
  try {
    const ours = await startPair(open, 'our');
    const peer = await startPair(open, 'bare');
    return {
      ours: roundOf(ours, kind, calls),
      peer: roundOf(peer, kind, calls),
      [Symbol.asyncDispose]: () => open.disposeAsync(),
    };
  } catch (error) {
    await open.disposeAsync();
    throw error;
  }
}

function casesOf(kind: Kind, name: string, about: string, counts: Readonly<Record<number, number>>): Case[] {
  return Object.entries(counts).map(([inFlight, calls]) => ({
    name: `${name}-${inFlight}`,
    about: `${about}, ${inFlight} at once`,
    peerName,
    figures: kind === 'unary' ? perCall : perMessage,
    rounds: 9,
    warmUp: 2,
    start: (scale: Scale) =>
      startSides(kind, { calls: scale === 'quick' ? 100 : calls, inFlight: Number(inFlight) }),
  }));
}

export const cases: readonly Case[] = [
  ...casesOf('unary', 'unary', 'unary calls', { 1: 1500, 16: 4000, 64: 4000 }),
  ...casesOf('serverStream', 'server-stream', 'messages of answering streams', {
    1: 20_000,
    16: 20_000,
    64: 20_000,
  }),
  ...casesOf('bidi', 'bidi', 'messages to and fro', { 1: 10_000, 16: 10_000, 64: 10_000 }),
];
