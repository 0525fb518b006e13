/**
 * The orchestrator's links to its hosts. Owner: the orchestrator; sole writer of a host's link, session epoch and
 * facts. One observation stream an agent, however many hosts it serves. Silence makes a host Silent, then
 * Disconnected; it never says anything about the VMs there. All of it is observed anew after a crash.
 */
import {
  type HostCapabilities,
  HypervisorServiceDefinition,
  type MachineObservation,
} from '@nephos/proto/nephos/plugin/v1/hypervisor';
import { StorageServiceDefinition } from '@nephos/proto/nephos/plugin/v1/storage';
import type { Logger } from '@nephos/service';
import { type Clients, type Clock, NotFound, type ServiceContract } from '@nephos/service';
import type { AgentLinks, HostEndpoint, HostLink, HostObservations } from '../ports.ts';
import type { HostRecord } from '../records/host.ts';
import { type AgentListener, runAgentSession } from './agent-session.ts';
import type { Fleet } from './fleet.ts';
import type { HostFactsWriter } from './host-facts.ts';

const settleMs = 100;

export interface AgentLinksOptions {
  readonly fleet: Fleet;
  readonly facts: HostFactsWriter;
  readonly clients: Clients;
  readonly clock: Clock;
  readonly log: Logger;
  readonly silentAfterMs: number;
  readonly disconnectedAfterMs: number;
}

interface Agent {
  readonly id: string;
  readonly stop: AbortController;
  /** Which hosts its session knows. */
  readonly hosts: string;
  lastHeard: number;
  /** What was written last or is being written; `connecting` also where that failed, so that it is tried again. */
  link: HostLink;
  draining: boolean;
  /** The last write of its link: one after the other, so that the last word stands. */
  writing: Promise<void>;
}

export class DirectoryAgentLinks implements AgentLinks, AsyncDisposable {
  readonly #options: AgentLinksOptions;
  readonly #agents = new Map<string, Agent>();
  readonly #observers = new Set<(seen: HostObservations) => Promise<void>>();
  readonly #linkObservers = new Set<(hostUid: string, link: HostLink) => Promise<void>>();
  /** When an agent's latest session is over: the next one begins only then, so that no two speak at once. */
  readonly #ended = new Map<string, Promise<void>>();
  /** The link that observers heard of last, by host. */
  readonly #told = new Map<string, HostLink>();
  readonly #watchdog: Disposable;
  #settling: Disposable | undefined;

  constructor(options: AgentLinksOptions) {
    this.#options = options;
    this.#watchdog = options.clock.every(1_000, () => this.#watchSilence());
  }

  /** To be called when hosts were added or removed: links follow in a moment, many changes at once. */
  hostsChanged(): void {
    this.#settling ??= this.#options.clock.timer(settleMs, () => {
      this.#settling = undefined;
      this.#reconcile();
    });
  }

  async hypervisor(hostUid: string): Promise<HostEndpoint<typeof HypervisorServiceDefinition>> {
    return this.#endpoint(HypervisorServiceDefinition, hostUid);
  }

  async storage(hostUid: string): Promise<HostEndpoint<typeof StorageServiceDefinition>> {
    return this.#endpoint(StorageServiceDefinition, hostUid);
  }

  onObservations(listener: (seen: HostObservations) => Promise<void>): Disposable {
    this.#observers.add(listener);
    return { [Symbol.dispose]: () => this.#observers.delete(listener) };
  }

  onLink(listener: (hostUid: string, link: HostLink) => Promise<void>): Disposable {
    this.#linkObservers.add(listener);
    return { [Symbol.dispose]: () => this.#linkObservers.delete(listener) };
  }

  linkOf(hostUid: string): HostLink {
    return this.#options.fleet.record(hostUid)?.link ?? 'disconnected';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#watchdog[Symbol.dispose]();
    this.#settling?.[Symbol.dispose]();
    const agents = [...this.#agents.values()];
    for (const { stop } of agents) stop.abort();
    await Promise.all(this.#ended.values());
    await Promise.all(agents.map(({ writing }) => writing));
  }

  #endpoint<Contract extends ServiceContract>(contract: Contract, hostUid: string): HostEndpoint<Contract> {
    const record = this.#options.fleet.record(hostUid);
    if (record === undefined) throw new NotFound('RESOURCE_NOT_FOUND', `there is no host hosts/${hostUid}`);
    const client = this.#options.clients.of(contract, 'host-agent', { labels: { agent: record.agentId } });
    return { client, host: record.agentHost };
  }

  /** Every agent that has hosts has a session that began with just these hosts. */
  #reconcile(): void {
    const { fleet } = this.#options;
    const wanted = Map.groupBy(fleet.records(), ({ agentId }) => agentId);
    for (const [agentId, agent] of this.#agents) {
      if (agent.hosts === hostsKey(wanted.get(agentId) ?? [])) continue;
      agent.stop.abort();
      this.#agents.delete(agentId);
    }
    for (const [agentId, records] of wanted) {
      if (!this.#agents.has(agentId)) this.#open(agentId, hostsKey(records));
    }
    for (const hostUid of this.#told.keys()) if (!fleet.record(hostUid)) this.#told.delete(hostUid);
  }

  #open(agentId: string, hosts: string): void {
    const { clients, clock, log, silentAfterMs } = this.#options;
    const agent: Agent = {
      id: agentId,
      stop: new AbortController(),
      hosts,
      lastHeard: clock.monotonic(),
      link: 'connecting',
      draining: false,
      writing: Promise.resolve(),
    };
    this.#agents.set(agentId, agent);
    const options = { agentId, clients, clock, log, silentAfterMs, listener: this.#listener(agent) };
    const before = this.#ended.get(agentId) ?? Promise.resolve();
    const ended = before.then(() => runAgentSession(options, agent.stop.signal));
    this.#ended.set(agentId, ended);
    void ended.then(() => {
      if (this.#ended.get(agentId) === ended) this.#ended.delete(agentId);
    });
  }

  #listener(agent: Agent): AgentListener {
    return {
      session: async (hosts) => {
        await this.#capabilities(agent.id, hosts);
        await this.#setLink(agent, 'up', true);
      },
      heard: () => this.#heard(agent),
      seen: (observations, complete) => this.#seen(agent.id, observations, complete),
      capabilities: (hosts) => this.#capabilities(agent.id, hosts),
      draining: () => {
        agent.draining = true;
      },
      closed: async () => {
        if (agent.draining) await this.#setLink(agent, 'disconnected');
      },
    };
  }

  #hostsOf(agentId: string): HostRecord[] {
    return this.#options.fleet.records().filter((record) => record.agentId === agentId);
  }

  #heard(agent: Agent): void {
    agent.lastHeard = this.#options.clock.monotonic();
    if (agent.link !== 'up') this.#report(this.#setLink(agent, 'up'));
  }

  async #capabilities(agentId: string, hosts: readonly HostCapabilities[]): Promise<void> {
    const records = new Map(this.#hostsOf(agentId).map((record) => [record.agentHost, record]));
    const known = hosts.flatMap((capabilities) => {
      const record = records.get(capabilities.host);
      return record === undefined ? [] : [{ hostUid: record.header.uid, capabilities }];
    });
    await Promise.all(
      known.map(({ hostUid, capabilities }) => this.#options.facts.write(hostUid, capabilities)),
    );
  }

  async #seen(
    agentId: string,
    observations: readonly MachineObservation[],
    complete: boolean,
  ): Promise<void> {
    const byHost = Map.groupBy(observations, ({ host }) => host);
    for (const { header, agentHost } of this.#hostsOf(agentId)) {
      const machines = byHost.get(agentHost) ?? [];
      if (machines.length === 0 && !complete) continue;
      for (const observer of this.#observers) await observer({ hostUid: header.uid, machines, complete });
    }
  }

  /** Silence is measured on the own monotonic clock, from the last message of any kind. */
  #watchSilence(): void {
    const { clock, silentAfterMs, disconnectedAfterMs } = this.#options;
    for (const agent of this.#agents.values()) {
      const silentMs = clock.monotonic() - agent.lastHeard;
      if (silentMs > disconnectedAfterMs) {
        if (agent.link !== 'disconnected') this.#report(this.#setLink(agent, 'disconnected'));
      } else if (silentMs > silentAfterMs && (agent.link === 'up' || agent.link === 'connecting')) {
        this.#report(this.#setLink(agent, 'silent'));
      }
    }
  }

  #setLink(agent: Agent, link: HostLink, newSession = false): Promise<void> {
    agent.link = link;
    if (link === 'up') {
      agent.lastHeard = this.#options.clock.monotonic();
      agent.draining = false;
    }
    const work = agent.writing.then(() => this.#writeLink(agent, link, newSession));
    agent.writing = work.catch(() => {
      agent.link = 'connecting';
    });
    return work;
  }

  async #writeLink(agent: Agent, link: HostLink, newSession: boolean): Promise<void> {
    const { facts, clock } = this.#options;
    if (this.#agents.get(agent.id) !== agent) return;
    await Promise.all(
      this.#hostsOf(agent.id).map(async (record) => {
        const { uid } = record.header;
        const told = this.#told.get(uid) ?? record.link;
        this.#told.set(uid, told);
        await facts.link(uid, link, newSession, clock.monotonic() - agent.lastHeard);
        if (told === link) return;
        for (const observer of this.#linkObservers) await observer(uid, link);
        this.#told.set(uid, link);
      }),
    );
  }

  #report(work: Promise<void>): void {
    work.catch((error: unknown) =>
      this.#options.log.error({ err: error }, 'a host link could not be recorded'),
    );
  }
}

function hostsKey(records: readonly HostRecord[]): string {
  return records
    .map(({ header }) => header.uid)
    .sort()
    .join();
}
