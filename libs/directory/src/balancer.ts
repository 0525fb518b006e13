/**
 * The load-balancing policy of `nephos:` targets in grpc-js: holds a connection to each address and lets choice.ts
 * say which one a call goes to. grpc-js's own `round_robin` knows no zones, and its `outlier_detection` takes every
 * status but OK for a failure, also a NOT_FOUND that was the right answer.
 * Invariants: connections to addresses that stay listed survive every new list. Lives and ends with its channel.
 */
import { type ChannelOptions, connectivityState, experimental, status } from '@grpc/grpc-js';
import type { Clock } from '@nephos/service';
import { Choice, mayLeaveOut, Standing, type Target } from './choice.ts';

export const policyName = 'nephos_choice';

/** What the resolver hands over with each list. */
export interface ChoiceParts {
  readonly clock: Clock;
  /** The caller's zone. */
  readonly zone: string;
  readonly targets: readonly Target[];
  /** Told when an address is left out or comes back. */
  readonly onOutlier: (address: string, leftOut: boolean) => void;
  /** Without targets: why calls fail at once rather than wait for one. */
  readonly refusal: string;
}

type Helper = experimental.ChannelControlHelper;
type Endpoints = Parameters<experimental.LoadBalancer['updateAddressList']>[0];
type Picker = experimental.Picker;

class ChoiceConfig implements experimental.TypedLoadBalancingConfig {
  readonly parts: ChoiceParts;

  constructor(parts: ChoiceParts) {
    this.parts = parts;
  }

  getLoadBalancerName(): string {
    return policyName;
  }

  toJsonObject(): object {
    const { zone, targets } = this.parts;
    return { [policyName]: { zone, targets } };
  }

  /** What grpc-js calls JSON is the object that the resolver of this process made. */
  static createFromJson(parts: ChoiceParts): ChoiceConfig {
    return new ChoiceConfig(parts);
  }
}

const faults: ReadonlySet<status> = new Set([
  status.UNAVAILABLE,
  status.DEADLINE_EXCEEDED,
  status.INTERNAL,
  status.UNKNOWN,
]);

interface Child {
  readonly leaf: experimental.LeafLoadBalancer;
  standing: Standing;
}

class ChoiceBalancer implements experimental.LoadBalancer {
  readonly #helper: Helper;
  readonly #childHelper: Helper;
  readonly #children = new Map<string, Child>();
  #parts: ChoiceParts | undefined;
  #state = connectivityState.IDLE;
  #paused = false;
  #lastError = '';
  /** When the first that is left out comes back, on the monotonic clock. */
  #nextReturn = Number.POSITIVE_INFINITY;

  constructor(helper: Helper) {
    this.#helper = helper;
    this.#childHelper = experimental.createChildChannelControlHelper(helper, {
      updateState: (state, _picker, error) => {
        if (this.#state === connectivityState.READY && state !== connectivityState.READY)
          helper.requestReresolution();
        if (error !== null) this.#lastError = error;
        this.#refresh();
      },
    });
  }

  updateAddressList(
    endpoints: Endpoints,
    config: experimental.TypedLoadBalancingConfig,
    options: ChannelOptions,
    note: string,
  ): boolean {
    if (!(config instanceof ChoiceConfig)) return false;
    if (!endpoints.ok) {
      if (this.#children.size === 0) this.#unavailable(endpoints.error.details);
      return true;
    }
    const { parts } = config;
    this.#parts = parts;
    this.#paused = true;
    const listed = new Map(parts.targets.map((target) => [target.address, target]));
    for (const [address, { leaf }] of this.#children) {
      if (listed.has(address)) continue;
      leaf.destroy();
      this.#children.delete(address);
    }
    for (const [at, target] of parts.targets.entries()) {
      const endpoint = endpoints.value[at];
      const known = this.#children.get(target.address);
      if (known !== undefined) known.standing = new Standing(target, known.standing);
      else if (endpoint !== undefined) {
        const leaf = new experimental.LeafLoadBalancer(endpoint, this.#childHelper, options, note);
        this.#children.set(target.address, { leaf, standing: new Standing(target) });
        leaf.startConnecting();
      }
    }
    this.#paused = false;
    this.#refresh();
    return true;
  }

  exitIdle(): void {
    for (const { leaf } of this.#children.values()) leaf.exitIdle();
  }

  resetBackoff(): void {}

  destroy(): void {
    for (const { leaf } of this.#children.values()) leaf.destroy();
    this.#children.clear();
  }

  getTypeName(): string {
    return policyName;
  }

  /** Tells the channel anew which calls can be made. */
  #refresh(): void {
    if (this.#paused || this.#parts === undefined) return;
    const children = [...this.#children.values()];
    const inState = (state: connectivityState) =>
      children.filter(({ leaf }) => leaf.getConnectivityState() === state);
    const ready = inState(connectivityState.READY);
    if (ready.length > 0) this.#update(connectivityState.READY, this.#picker(children, ready));
    else if (inState(connectivityState.CONNECTING).length > 0)
      this.#update(connectivityState.CONNECTING, new experimental.QueuePicker(this));
    else if (inState(connectivityState.TRANSIENT_FAILURE).length > 0)
      this.#unavailable(`no connection established: ${this.#lastError}`);
    else if (children.length === 0 && this.#parts.refusal !== '') this.#refuse(this.#parts.refusal);
    else this.#update(connectivityState.IDLE, new experimental.QueuePicker(this));
    for (const { leaf } of inState(connectivityState.IDLE)) leaf.exitIdle();
  }

  #picker(children: readonly Child[], ready: readonly Child[]): Picker {
    const parts = this.#parts as ChoiceParts;
    const byAddress = new Map(ready.map(({ standing, leaf }) => [standing.target.address, leaf.getPicker()]));
    const all = children.map(({ standing }) => standing);
    this.#nextReturn = Math.min(...all.map(({ returnsAt }) => returnsAt ?? Number.POSITIVE_INFINITY));
    const choice = new Choice(
      all,
      ready.map(({ standing }) => standing),
      parts.zone,
    );
    return {
      pick: (args) => {
        this.#bringBack();
        const standing = choice.next();
        const picker = standing && byAddress.get(standing.target.address);
        if (standing === undefined || picker === undefined)
          return new experimental.QueuePicker(this).pick(args);
        return this.#counted(picker.pick(args), standing.target.address);
      },
    };
  }

  /** The pick, with its call counted from its beginning to its end. */
  #counted(pick: experimental.PickResult, address: string): experimental.PickResult {
    if (pick.pickResultType !== experimental.PickResultType.COMPLETE) return pick;
    let counting: Standing | undefined;
    return {
      ...pick,
      onCallStarted: () => {
        pick.onCallStarted?.();
        counting = this.#children.get(address)?.standing;
        if (counting !== undefined) counting.pending += 1;
      },
      onCallEnded: (code, details, metadata) => {
        pick.onCallEnded?.(code, details, metadata);
        // A later list may have renewed the standing: the counts went over to the new one.
        const standing = this.#children.get(address)?.standing;
        if (counting === undefined || standing === undefined) return;
        standing.pending = Math.max(0, standing.pending - 1);
        if (code !== status.CANCELLED) this.#took(standing, faults.has(code));
      },
    };
  }

  #took(standing: Standing, failed: boolean): void {
    const parts = this.#parts;
    if (!standing.ended(failed) || standing.returnsAt !== undefined || parts === undefined) return;
    if (!mayLeaveOut([...this.#children.values()].map((child) => child.standing))) return;
    standing.leaveOut(parts.clock.monotonic());
    parts.onOutlier(standing.target.address, true);
    this.#refresh();
  }

  #bringBack(): void {
    if (this.#nextReturn === Number.POSITIVE_INFINITY || this.#parts === undefined) return;
    const now = this.#parts.clock.monotonic();
    if (now < this.#nextReturn) return;
    for (const { standing } of this.#children.values()) {
      if (standing.returnsAt === undefined || now < standing.returnsAt) continue;
      standing.comeBack();
      this.#parts.onOutlier(standing.target.address, false);
    }
    this.#refresh();
  }

  #unavailable(details: string): void {
    const picker = new experimental.UnavailablePicker({ details });
    this.#update(connectivityState.TRANSIENT_FAILURE, picker, details);
  }

  /** Also calls that would wait for a connection fail. */
  #refuse(details: string): void {
    const refused = new experimental.UnavailablePicker({ details }).pick({} as never);
    const picker = {
      pick: () => ({ ...refused, pickResultType: experimental.PickResultType.DROP as const }),
    };
    this.#update(connectivityState.TRANSIENT_FAILURE, picker, details);
  }

  #update(state: connectivityState, picker: Picker, error: string | null = null): void {
    this.#state = state;
    this.#helper.updateState(state, picker, error);
  }
}

/** Makes grpc-js know the policy. Once a process. */
export function registerPolicy(): void {
  experimental.registerLoadBalancerType(policyName, ChoiceBalancer, ChoiceConfig);
}
