/**
 * The orchestrator's links to its hosts. Owner: the instance that observes, for the term it was given; sole writer of
 * a host's link, session epoch and facts. One observation stream an agent, however many hosts it serves. Silence makes
 * a host Silent, then Disconnected; it never says anything about the VMs there. A successor counts silence from the
 * beginning of its own term. All of it is observed anew after a crash.
 */
import type { HostCapabilities, MachineObservation } from '@nephos/proto/nephos/plugin/v1/hypervisor';
import type { Clients, Clock, Logger } from '@nephos/service';
import type { AgentLinks, HostLink, HostObservations, Term } from '../ports.ts';
import type { HostRecord } from '../records/host.ts';
import { type AgentListener, runAgentSession } from './agent-session.ts';
import type { Fleet } from './fleet.ts';
import { HostEndpoints } from './host-endpoints.ts';
import { checkOngoing, type HostFactsWriter } from './host-facts.ts';

const settleMs = 100;
/** Between two looks at who fell silent. */
const watchMs = 1_000;

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
  readonly term: Term;
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

export class DirectoryAgentLinks extends HostEndpoints implements AgentLinks {
  readonly #options: AgentLinksOptions;
  readonly #agents = new Map<string, Agent>();
  readonly #observers = new Set<(seen: HostObservations) => Promise<void>>();
  readonly #linkObservers = new Set<(hostUid: string, link: HostLink) => Promise<void>>();
  /** When an agent's latest session is over: the next one begins only then, so that no two speak at once. */
  readonly #ended = new Map<string, Promise<void>>();
  /** The link that observers heard of last, by host. */
  readonly #told = new Map<string, HostLink>();
  #term: Term | undefined;
  /** When silence was looked for last. */
  #watched = 0;
  #settling: Disposable | undefined;

  constructor(options: AgentLinksOptions) {
    super(options.fleet, options.clients);
    this.#options = options;
  }

  /** Keeps the links for a term; returns once every stream is closed and every write done. */
  async observe(term: Term): Promise<void> {
    const { clock } = this.#options;
    const over = Promise.withResolvers<void>();
    term.signal.addEventListener('abort', () => over.resolve(), { once: true });
    if (term.signal.aborted) return;
    this.#term = term;
    this.#told.clear();
    this.#watched = clock.monotonic();
    using _watchdog = clock.every(watchMs, () => this.#watchSilence());
    this.hostsChanged();
    await over.promise;
    this.#term = undefined;
    this.#settling?.[Symbol.dispose]();
    this.#settling = undefined;
    const agents = [...this.#agents.values()];
    this.#agents.clear();
    for (const { stop } of agents) stop.abort();
    await Promise.all(this.#ended.values());
    await Promise.all(agents.map(({ writing }) => writing));
  }

  /** To be called when hosts were added or removed: links follow in a moment, many changes at once. */
  hostsChanged(): void {
    if (this.#term === undefined) return;
    this.#settling ??= this.#options.clock.timer(settleMs, () => {
      this.#settling = undefined;
      this.#reconcile();
    });
  }

  onObservations(listener: (seen: HostObservations) => Promise<void>): Disposable {
    this.#observers.add(listener);
    return { [Symbol.dispose]: () => this.#observers.delete(listener) };
  }

  onLink(listener: (hostUid: string, link: HostLink) => Promise<void>): Disposable {
    this.#linkObservers.add(listener);
    return { [Symbol.dispose]: () => this.#linkObservers.delete(listener) };
  }

  /** Every agent that has hosts has a session that began with just these hosts. */
  #reconcile(): void {
    const { fleet } = this.#options;
    const term = this.#term;
    if (term === undefined) return;
    const wanted = Map.groupBy(fleet.records(), ({ agentId }) => agentId);
    for (const [agentId, agent] of this.#agents) {
      if (agent.hosts === hostsKey(wanted.get(agentId) ?? [])) continue;
      agent.stop.abort();
      this.#agents.delete(agentId);
    }
    for (const [agentId, records] of wanted) {
      if (!this.#agents.has(agentId)) this.#open(agentId, hostsKey(records), term);
    }
    for (const hostUid of this.#told.keys()) if (!fleet.record(hostUid)) this.#told.delete(hostUid);
  }

  #open(agentId: string, hosts: string, term: Term): void {
    const { clients, clock, log, silentAfterMs } = this.#options;
    const agent: Agent = {
      id: agentId,
      term,
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
        await this.#capabilities(agent, hosts);
        await this.#setLink(agent, 'up', true);
      },
      heard: () => this.#heard(agent),
      seen: (observations, complete) => this.#seen(agent, observations, complete),
      capabilities: (hosts) => this.#capabilities(agent, hosts),
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

  async #capabilities({ id, term }: Agent, hosts: readonly HostCapabilities[]): Promise<void> {
    const records = new Map(this.#hostsOf(id).map((record) => [record.agentHost, record]));
    const known = hosts.flatMap((capabilities) => {
      const record = records.get(capabilities.host);
      return record === undefined ? [] : [{ hostUid: record.header.uid, capabilities }];
    });
    await Promise.all(
      known.map(({ hostUid, capabilities }) => this.#options.facts.write(hostUid, capabilities, term)),
    );
  }

  async #seen(
    { id, term }: Agent,
    observations: readonly MachineObservation[],
    complete: boolean,
  ): Promise<void> {
    const byHost = Map.groupBy(observations, ({ host }) => host);
    const stillMine = (): void => checkOngoing(term);
    for (const { header, agentHost } of this.#hostsOf(id)) {
      const machines = byHost.get(agentHost) ?? [];
      if (machines.length === 0 && !complete) continue;
      const seen = { hostUid: header.uid, machines, complete, stillMine };
      for (const observer of this.#observers) await observer(seen);
    }
  }

  /**
   * Silence is measured on the own monotonic clock, from the last message of any kind. Time in which this process
   * itself stood still is not counted: what was sent meanwhile may lie unread.
   */
  #watchSilence(): void {
    const { clock, silentAfterMs, disconnectedAfterMs } = this.#options;
    const stoodStillMs = clock.monotonic() - this.#watched - watchMs;
    this.#watched = clock.monotonic();
    if (stoodStillMs > watchMs) {
      for (const agent of this.#agents.values()) agent.lastHeard += stoodStillMs;
    }
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
        const silentMs = clock.monotonic() - agent.lastHeard;
        await facts.link(uid, { link, newSession, silentMs }, agent.term);
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
