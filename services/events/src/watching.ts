/**
 * All watches of this replica: how many there may be, and how they end when it stops. What a crash ends is opened
 * again elsewhere, from its token.
 */
import type { Bus } from '@nephos/events';
import { StartPoint, type WatchRequest } from '@nephos/proto/nephos/events/v1/event_service';
import { type Call, Exhausted, fieldInvalid } from '@nephos/service';
import { type Start, WatchSource } from './adapters/watch-source.ts';
import { selectionOf } from './domain/filter.ts';
import { checkResumeToken } from './domain/resume-token.ts';
import { type Response, Watch, type WatchOptions } from './watch.ts';

export interface WatchingOptions {
  readonly bus: Bus;
  /** Watches at once. */
  readonly most: number;
  /** A sign of life comes when nothing else has for this long; 1,000 ms or more. */
  readonly heartbeatMs: number;
}

export class Watching {
  readonly #options: WatchingOptions;
  readonly #draining = new AbortController();
  #open = 0;

  constructor(options: WatchingOptions) {
    this.#options = options;
  }

  /** How many there are. */
  get open(): number {
    return this.#open;
  }

  /** Tells every watcher to go elsewhere. */
  drain(): void {
    this.#draining.abort(new Error('the service is stopping'));
  }

  async *watch(
    request: WatchRequest,
    { signal, log }: Pick<Call, 'signal' | 'log'>,
  ): AsyncGenerator<Response> {
    const { bus, most, heartbeatMs } = this.#options;
    const selection = selectionOf(request.filter);
    const source = new WatchSource(selection);
    const from = fromOf(request);
    if ('token' in from) checkResumeToken(from.token, source.filter);
    else if (from.start === 'snapshot' && selection.tree === 'jobs') {
      throw fieldInvalid('point', 'is SNAPSHOT: jobs have none; list them instead');
    }
    if (this.#open >= most) {
      throw new Exhausted('LIMIT_REACHED', `${most} watches are open here`, { retryAfterMs: 5_000 });
    }
    this.#open += 1;
    try {
      const over = AbortSignal.any([signal, this.#draining.signal]);
      const watch = new Watch({ bus, source, from, log, heartbeatMs, over });
      yield* watch.run();
      // Also when the server has broken the call off by now: what is said before that still arrives.
      if (this.#draining.signal.aborted)
        yield { resumeToken: watch.token, message: { $case: 'drain', value: {} } };
    } finally {
      this.#open -= 1;
    }
  }
}

const starts: Readonly<Record<number, Start>> = {
  [StartPoint.UNSPECIFIED]: 'now',
  [StartPoint.NOW]: 'now',
  [StartPoint.EARLIEST]: 'earliest',
  [StartPoint.SNAPSHOT]: 'snapshot',
};

function fromOf({ start }: WatchRequest): WatchOptions['from'] {
  switch (start?.$case) {
    case undefined:
      return { start: 'now' };
    case 'resumeToken':
      if (start.value === '')
        throw fieldInvalid('resume_token', 'is empty: leave it out to begin anew', true);
      return { token: start.value };
    case 'time':
      if (Number.isNaN(start.value.getTime())) throw fieldInvalid('time', 'is no time');
      return { start: start.value };
    case 'point': {
      const named = starts[start.value];
      if (named === undefined) throw fieldInvalid('point', 'is NOW, EARLIEST or SNAPSHOT');
      return { start: named };
    }
  }
}
