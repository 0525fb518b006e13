/**
 * The streams of WatchInstances: the list at once, then after each change of the service watched, a heartbeat
 * when nothing changed, a drain message at the end. State of one replica; a watcher that loses it opens another.
 */
import { selects } from '@nephos/directory';
import type {
  WatchInstancesRequest,
  WatchInstancesResponse,
} from '@nephos/proto/nephos/directory/v1/directory_service';
import type { Clock, DeepPartial } from '@nephos/service';
import { durationOf, messageOf } from './domain/message.ts';
import type { Listed } from './domain/roster.ts';
import type { Registry } from './registry.ts';

/** Changes this close together come as one list, milliseconds. */
const gatherMs = 20;
const heartbeatMs = 5000;

type Response = DeepPartial<WatchInstancesResponse>;

export class Watching {
  readonly #registry: Registry;
  readonly #clock: Clock;
  readonly #draining = new AbortController();

  constructor(registry: Registry, clock: Clock) {
    this.#registry = registry;
    this.#clock = clock;
  }

  /** Tells every watcher to go elsewhere. */
  drain(): void {
    this.#draining.abort();
  }

  async *watch(request: WatchInstancesRequest, caller: AbortSignal): AsyncGenerator<Response> {
    const service = request.selector?.service ?? '';
    const over = AbortSignal.any([caller, this.#draining.signal]);
    let changed = new AbortController();
    using _listening = this.#registry.onChange((of) => {
      if (service === '' || of === service) changed.abort();
    });
    let told: string | undefined;
    while (!over.aborted) {
      changed = new AbortController();
      const listed = this.#registry.list().filter((each) => wanted(each, request));
      const { settled } = this.#registry;
      const telling = `${settled} ${listed.map(({ state, version }) => `${state.uid}.${version}`).join()}`;
      if (telling !== told) {
        told = telling;
        yield { update: { $case: 'list', value: { instances: listed.map(messageOfListed), settled } } };
      } else {
        yield { update: { $case: 'heartbeat', value: { interval: durationOf(heartbeatMs) } } };
      }
      await this.#pause(changed.signal, over, settled ? heartbeatMs : gatherMs * 10);
    }
    if (!caller.aborted) yield { update: { $case: 'drain', value: {} } };
  }

  /** Until a change (and those that follow at once), the end, or `ms`. */
  async #pause(changed: AbortSignal, over: AbortSignal, ms: number): Promise<void> {
    await this.#clock.sleep(ms, AbortSignal.any([changed, over])).catch(() => undefined);
    if (changed.aborted) await this.#clock.sleep(gatherMs, over).catch(() => undefined);
  }
}

export function messageOfListed({ state, load }: Listed) {
  return messageOf(state, load);
}

function wanted({ state }: Listed, { selector, includeUnavailable }: WatchInstancesRequest): boolean {
  const { facts } = state;
  if (!includeUnavailable && facts.health !== 'SERVING') return false;
  if (selector === undefined) return true;
  return (selector.service === '' || facts.service === selector.service) && selects(selector, facts);
}
