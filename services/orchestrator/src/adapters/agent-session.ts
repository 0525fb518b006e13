/**
 * The link to one agent: its observation stream, kept open for ever. Owner: agent-links.ts.
 * Told in order: `session` when the agent answers, then `seen` for each message, each awaited before the cursor
 * moves on; so what a crash or a failed listener interrupts is told again. `closed` when the stream ends.
 */
import {
  type HostCapabilities,
  HypervisorServiceDefinition,
  type MachineObservation,
} from '@nephos/proto/nephos/plugin/v1/hypervisor';
import type { Client, Clients, Clock, Logger } from '@nephos/service';

const firstBackoffMs = 100;
const longestBackoffMs = 5_000;

export interface AgentListener {
  session(hosts: readonly HostCapabilities[]): Promise<void>;
  /** Anything at all arrived. */
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

/** Runs until the signal aborts. Never throws but for that. */
export async function runAgentSession(options: AgentSessionOptions, signal: AbortSignal): Promise<void> {
  const { agentId, clients, clock, log, listener } = options;
  const client = clients.of(HypervisorServiceDefinition, 'host-agent', { labels: { agent: agentId } });
  const progress = { cursor: '', backoffMs: firstBackoffMs };
  while (!signal.aborted) {
    try {
      await follow(client, options, progress, signal);
      log.info({ agent: agentId }, 'the agent closed its stream');
    } catch (error) {
      if (signal.aborted) return;
      log.warn({ agent: agentId, err: error }, 'the link to the agent broke; it is tried again');
      // What was missed is not known for sure, so everything is asked for again.
      progress.cursor = '';
    }
    await listener.closed();
    await clock.sleep(progress.backoffMs, signal).catch(() => undefined);
    progress.backoffMs = Math.min(progress.backoffMs * 2, longestBackoffMs);
  }
}

interface Progress {
  cursor: string;
  backoffMs: number;
}

async function follow(
  client: Client<typeof HypervisorServiceDefinition>,
  { clock, listener, silentAfterMs }: AgentSessionOptions,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const { hosts } = await client.getCapabilities({}, { signal });
  await listener.session(hosts);
  const silence = new AbortController();
  let lastHeard = clock.monotonic();
  using _watch = clock.every(1_000, () => {
    if (clock.monotonic() - lastHeard > silentAfterMs) silence.abort(new Error('the agent fell silent'));
  });
  const picture: MachineObservation[] = [];
  let complete = progress.cursor !== '';
  const stream = client.watchObservations(
    { cursor: progress.cursor },
    { signal: AbortSignal.any([signal, silence.signal]) },
  );
  for await (const message of stream) {
    lastHeard = clock.monotonic();
    progress.backoffMs = firstBackoffMs;
    listener.heard();
    if (message.draining) listener.draining();
    if (message.hosts.length > 0) await listener.capabilities(message.hosts);
    if (complete) {
      if (message.observations.length > 0) await listener.seen(message.observations, false);
    } else {
      picture.push(...message.observations);
    }
    if (message.snapshotComplete) {
      if (!complete) await listener.seen(picture.splice(0), true);
      complete = true;
    }
    if (complete) progress.cursor = message.cursor;
  }
}
