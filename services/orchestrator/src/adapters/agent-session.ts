/**
 * The link to one agent: its observation stream, kept open for ever. Owner: agent-links.ts.
 * Told in order: `session` when the agent answers, then `seen` for each message, each awaited before the cursor
 * moves on; so what a crash or a failed listener interrupts is told again. `closed` when the stream ends.
 */
import {
  type HostCapabilities,
  HypervisorServiceDefinition,
  type MachineObservation,
  type WatchObservationsResponse,
} from '@nephos/proto/nephos/plugin/v1/hypervisor';
import type { Clients, Clock, Logger } from '@nephos/service';

const firstBackoffMs = 100;
const longestBackoffMs = 5_000;

export interface AgentListener {
  session(hosts: readonly HostCapabilities[]): Promise<void>;
  /** Anything at all arrived, or what arrived is still being dealt with. */
  heard(): void;
  seen(observations: readonly MachineObservation[], complete: boolean): Promise<void>;
  capabilities(hosts: readonly HostCapabilities[]): Promise<void>;
  /** The agent said it will shut down in order. */
  draining(): void;
  closed(): Promise<void>;
}

export interface AgentSessionOptions {
  readonly agentId: string;
  readonly clients: Clients;
  readonly clock: Clock;
  readonly log: Logger;
  /** A stream that brought nothing for so long is cut and opened anew. */
  readonly silentAfterMs: number;
  readonly listener: AgentListener;
}

/** Runs until the signal aborts. Never throws. */
export async function runAgentSession(options: AgentSessionOptions, signal: AbortSignal): Promise<void> {
  const { agentId, clock, log, listener } = options;
  const progress = { cursor: '', backoffMs: firstBackoffMs };
  while (!signal.aborted) {
    try {
      await follow(options, progress, signal);
      log.info({ agent: agentId }, 'the agent closed its stream');
    } catch (error) {
      if (signal.aborted) return;
      log.warn({ agent: agentId, err: error }, 'the link to the agent broke; it is tried again');
      // What was missed is not known for sure, so everything is asked for again.
      progress.cursor = '';
    }
    if (signal.aborted) return;
    await listener.closed().catch((error: unknown) => {
      log.warn({ agent: agentId, err: error }, "the end of the agent's stream could not be recorded");
    });
    await clock.sleep(progress.backoffMs, signal).catch(() => undefined);
    progress.backoffMs = Math.min(progress.backoffMs * 2, longestBackoffMs);
  }
}

interface Progress {
  cursor: string;
  backoffMs: number;
}

async function follow(
  { agentId, clients, clock, listener, silentAfterMs }: AgentSessionOptions,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const client = clients.of(HypervisorServiceDefinition, 'host-agent', { labels: { agent: agentId } });
  const { hosts } = await client.getCapabilities({}, { signal });
  await listener.session(hosts);
  const silence = new AbortController();
  let lastHeard = clock.monotonic();
  let dealing = false;
  using _watch = clock.every(1_000, () => {
    if (dealing) {
      // We are the slow one: the agent's next message may be waiting already.
      lastHeard = clock.monotonic();
      listener.heard();
    } else if (clock.monotonic() - lastHeard > silentAfterMs) {
      silence.abort(new Error('the agent fell silent'));
    }
  });
  const picture: MachineObservation[] = [];
  const stream = client.watchObservations(
    { cursor: progress.cursor },
    { signal: AbortSignal.any([signal, silence.signal]) },
  );
  for await (const message of stream) {
    lastHeard = clock.monotonic();
    progress.backoffMs = firstBackoffMs;
    dealing = true;
    await deal(message, picture, listener);
    dealing = false;
    if (message.cursor !== '') progress.cursor = message.cursor;
  }
}

/** A message without a cursor is a part of a picture that is not whole yet: it is kept until the rest is here. */
async function deal(
  { cursor, observations, snapshotComplete, hosts, draining }: WatchObservationsResponse,
  picture: MachineObservation[],
  listener: AgentListener,
): Promise<void> {
  listener.heard();
  if (draining) listener.draining();
  if (hosts.length > 0) await listener.capabilities(hosts);
  if (cursor === '') picture.push(...observations);
  else if (snapshotComplete) await listener.seen([...picture.splice(0), ...observations], true);
  else if (observations.length > 0) await listener.seen(observations, false);
}
