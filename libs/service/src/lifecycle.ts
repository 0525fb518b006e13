/**
 * The states that a service goes through, each once and in order: starting, serving, draining, stopped. Each
 * change is logged. Parts that must act on a change (the directory, an executor) register here.
 */
import type { Logger } from 'pino';
import type { Address } from './address.ts';

export type LifecycleState = 'starting' | 'serving' | 'draining' | 'stopped';

export interface Lifecycle {
  readonly state: LifecycleState;
  /** False while a health check fails. */
  readonly healthy: boolean;
  /** Called with the advertised address once calls are taken; at once if they are already. */
  onServing(react: (address: Address) => Promise<void> | void): void;
  /** Called when draining begins, before the server stops taking calls; awaited for as long as the grace lasts. */
  onDraining(react: () => Promise<void> | void): void;
  /** Called with each change of health. */
  onHealth(react: (healthy: boolean) => void): void;
}

const order: readonly LifecycleState[] = ['starting', 'serving', 'draining', 'stopped'];

/** The side that start.ts drives. */
export class LifecycleControl implements Lifecycle {
  readonly #log: Logger;
  readonly #serving: ((address: Address) => Promise<void> | void)[] = [];
  readonly #draining: (() => Promise<void> | void)[] = [];
  readonly #health: ((healthy: boolean) => void)[] = [];
  #state: LifecycleState = 'starting';
  #healthy = true;
  #address: Address | undefined;

  constructor(log: Logger) {
    this.#log = log;
    log.info({ state: this.#state }, 'service starting');
  }

  get state(): LifecycleState {
    return this.#state;
  }

  get healthy(): boolean {
    return this.#healthy;
  }

  onServing(react: (address: Address) => Promise<void> | void): void {
    this.#serving.push(react);
    if (this.#state === 'serving' && this.#address !== undefined) {
      const address = this.#address;
      void this.#call(() => react(address));
    }
  }

  onDraining(react: () => Promise<void> | void): void {
    this.#draining.push(react);
  }

  onHealth(react: (healthy: boolean) => void): void {
    this.#health.push(react);
  }

  /** Not awaited: a part that takes its time, such as the directory, does not hold the service back. */
  serving(address: Address): void {
    this.#address = address;
    this.#move('serving', { address: `${address.host}:${address.port}` });
    for (const react of this.#serving) void this.#call(() => react(address));
  }

  async draining(): Promise<void> {
    this.#move('draining');
    await Promise.all(this.#draining.map((react) => this.#call(react)));
  }

  stopped(): void {
    this.#move('stopped');
  }

  setHealthy(healthy: boolean): void {
    if (healthy === this.#healthy) return;
    this.#healthy = healthy;
    for (const react of this.#health) react(healthy);
  }

  #move(state: LifecycleState, facts: Readonly<Record<string, unknown>> = {}): void {
    if (order.indexOf(state) <= order.indexOf(this.#state)) {
      throw new Error(`a service that is ${this.#state} cannot become ${state}`);
    }
    this.#log.info({ state, from: this.#state, ...facts }, `service ${state}`);
    this.#state = state;
  }

  /** A part that fails to react is logged; it never keeps the service from moving on. */
  async #call(react: () => Promise<void> | void): Promise<void> {
    try {
      await react();
    } catch (error) {
      this.#log.error({ err: error, state: this.#state }, 'a part did not take the change of state');
    }
  }
}
