/**
 * The processes of the platform, from the first to the last: started together, watched until each is healthy, kept
 * alive, stopped in order. A start that fails stops what it had started.
 */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { durationText, isServing } from '@nephos/client';
import { type Clock, openClients, Precondition } from '@nephos/service';
import { issueIdentities } from './identities.ts';
import { type Group, type Layout, portCount, repository, type ServiceName } from './layout.ts';
import { LogFile } from './log-file.ts';
import { prepareNats } from './nats.ts';
import { accepts, natsGreets } from './ports.ts';
import { portOwner } from './processes.ts';
import type { Screen } from './screen.ts';
import { type ChildSpec, Supervised } from './supervised.ts';

const startMs = 60_000;
const askAgainMs = 20;
const stopMs = 15_000;
/** Guests may take their time to shut down. */
const agentStopMs = 40_000;

/** A part did not come up. */
export class StartFailed extends Precondition {
  readonly part: string;

  constructor(part: string, message: string) {
    super('SERVICE_UNAVAILABLE', message);
    this.part = part;
  }
}

export interface LocalPlatform {
  /** The platform's processes, without guests and without this one. */
  readonly pids: readonly number[];
  /** True when each ended as it was asked to. */
  stop(): Promise<boolean>;
  /** At once; resolves when all are gone. */
  kill(): Promise<void>;
}

export interface StartContext {
  readonly screen: Screen;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly verbose: boolean;
}

/** Throws `StartFailed`, or `Precondition` for a port that is taken. */
export async function startLocalPlatform(layout: Layout, context: StartContext): Promise<LocalPlatform> {
  checkPorts(layout);
  mkdirSync(layout.logs, { recursive: true });
  const processes = new Processes(layout, context);
  try {
    await processes.start();
  } catch (error) {
    await processes.kill();
    throw error;
  }
  return processes;
}

function checkPorts({ options }: Layout): void {
  const end = options.portBase + portCount;
  for (let port = options.portBase; port < end; port += 1) {
    const owner = portOwner(port);
    if (owner === undefined) continue;
    throw new Precondition(
      'RESOURCE_IN_USE',
      `port ${port} is taken by ${owner}. Stop it, or choose ${portCount} other ports with --port-base`,
    );
  }
}

class Processes implements LocalPlatform {
  readonly #layout: Layout;
  readonly #context: StartContext;
  readonly #running = new Map<string, Supervised>();
  #identities: Disposable | undefined;

  constructor(layout: Layout, context: StartContext) {
    this.#layout = layout;
    this.#context = context;
  }

  get pids(): readonly number[] {
    return [...this.#running.values()].flatMap(({ pid }) => pid ?? []);
  }

  async start(): Promise<void> {
    const { groups, nats } = this.#layout;
    const { screen } = this.#context;
    this.#identities = await issueIdentities(this.#layout, this.#context.clock, (error) =>
      screen.warn(`the services' tokens cannot be renewed: ${String(error)}`),
    );
    const { version, ...broker } = await prepareNats(this.#layout);
    const natsChild = this.#launch(broker);
    const children = groups.map((group) => ({ group, child: this.#launch(specOf(group)) }));
    using clients = openClients('system:launcher');
    const waits = [
      this.#until(natsChild, () => natsGreets(nats.port)).then(() =>
        screen.done('nats-server', `${nats.url}  ${version}`, screen.elapsedMs),
      ),
      ...children.flatMap(({ group, child }) =>
        group.services.map(async (service) => {
          const address = this.#layout.address(service);
          const port = this.#layout.portOf(service);
          // A channel that is refused waits longer and longer: it is opened once it can connect.
          const up = async () => (await accepts(port)) && isServing(clients, address);
          await this.#until(child, up, service);
          screen.done(service, `${address}  in process ${child.pid}`, screen.elapsedMs);
        }),
      ),
    ];
    await Promise.all(waits);
    for (const child of this.#running.values()) child.keepAlive();
  }

  async stop(): Promise<boolean> {
    const { screen } = this.#context;
    this.#identities?.[Symbol.dispose]();
    // The control plane goes first, so that it does not answer the guests' shutdown by starting them again;
    // the broker last, since the others have events for it.
    const names = [...this.#running.keys()].filter((name) => name !== 'host-agent' && name !== 'nats-server');
    const order = [...names.reverse(), 'host-agent', 'nats-server'];
    let clean = true;
    for (const name of order) {
      const child = this.#running.get(name);
      if (child === undefined) continue;
      screen.live(name === 'host-agent' ? 'guests are shutting down…' : `stopping ${name}…`);
      const began = this.#context.clock.monotonic();
      const graceful = await child.stop(name === 'host-agent' ? agentStopMs : stopMs);
      this.#running.delete(name);
      const took = this.#context.clock.monotonic() - began;
      clean &&= graceful;
      if (graceful) screen.done(name, 'stopped', took);
      else screen.failed(name, `did not stop within ${durationText(took)} and was killed`);
    }
    screen.live('');
    return clean;
  }

  async kill(): Promise<void> {
    this.#identities?.[Symbol.dispose]();
    await Promise.all([...this.#running.values()].map((child) => child.kill()));
    this.#running.clear();
  }

  #launch(spec: ChildSpec): Supervised {
    const { clock, screen, verbose } = this.#context;
    const child = new Supervised({
      spec,
      clock,
      log: new LogFile(path.join(this.#layout.logs, `${spec.name}.log`)),
      onCrash: (name, how, pauseMs) =>
        screen.warn(`${name} ended by itself (${how}); it is started again in ${durationText(pauseMs)}`),
      onOutput: verbose ? (name, text) => showOutput(screen, name, text) : undefined,
    });
    this.#running.set(spec.name, child);
    return child;
  }

  /** Asks until it is so; throws when the process ends first. */
  async #until(child: Supervised, ready: () => Promise<boolean>, part: string = child.name): Promise<void> {
    const { clock, signal } = this.#context;
    const ended = child.exited.then((how) => {
      throw new StartFailed(part, `${part} did not start (${how}): ${reasonIn(child.lastLines(20))}`);
    });
    ended.catch(() => undefined);
    const deadline = clock.monotonic() + startMs;
    for (;;) {
      if (await Promise.race([ready(), ended])) return;
      if (clock.monotonic() > deadline)
        throw new StartFailed(part, `${part} is not up after ${durationText(startMs)}`);
      await Promise.race([clock.sleep(askAgainMs, signal), ended]);
    }
  }
}

function specOf({ name, services, env }: Group): ChildSpec {
  const entry = path.join(repository, 'deploy/local/src/group.ts');
  return {
    name,
    command: process.execPath,
    args: ['--disable-warning=ExperimentalWarning', entry, ...(services satisfies readonly ServiceName[])],
    env,
  };
}

function showOutput(screen: Screen, name: string, text: string): void {
  for (const line of text.trimEnd().split('\n')) screen.line(`${name}: ${line}`);
}

/** The line that tells most of why a process ended: the last that is no log record and no stack frame. */
export function reasonIn(lines: readonly string[]): string {
  const told = lines.filter((line) => line.trim() !== '' && !line.startsWith('{') && !/^\s+at /.test(line));
  return (
    told.find((line) => /^[A-Z][A-Za-z]*(Error)?: |^configuration/.test(line)) ?? told.at(-1) ?? 'see its log'
  );
}
