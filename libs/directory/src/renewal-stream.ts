/**
 * Renewals of one instance over one stream: a fraction of what calls cost. Owner: its registration, which says by a
 * call whatever the stream did not get across. One renewal is under way at a time. Invariant: a stream that failed,
 * was answered late or belongs to an older token is given up; another may be opened once a call got through.
 */
import type {
  KeepInstancesRequest,
  KeepInstancesResponse,
} from '@nephos/proto/nephos/directory/v1/directory_service';
import { type Clock, DeadlineExceeded, type DeepPartial, NotFound, Unavailable } from '@nephos/service';
import type { DirectoryEndpoint } from './types.ts';

type Renewal = NonNullable<DeepPartial<KeepInstancesRequest>['renewal']>;

export class RenewalStream implements Disposable {
  /** The metadata that the stream was opened with. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly #clock: Clock;
  readonly #over = new AbortController();
  readonly #answers: AsyncIterator<KeepInstancesResponse>;
  #next = Promise.withResolvers<Renewal>();

  constructor(
    open: NonNullable<DirectoryEndpoint['keepInstances']>,
    clock: Clock,
    metadata: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ) {
    this.metadata = metadata;
    this.#clock = clock;
    const ends = AbortSignal.any([signal, this.#over.signal]);
    const options = { metadata, signal: ends, waitForReady: false };
    this.#answers = open(this.#requests(), options)[Symbol.asyncIterator]();
  }

  /** Resolves once the directory took it. Rejects with what ended the stream, or DeadlineExceeded; it is over then. */
  async renew(renewal: Renewal, withinMs: number): Promise<void> {
    using _late = this.#clock.timer(withinMs, () =>
      this.#over.abort(new DeadlineExceeded('DEADLINE_EXCEEDED', 'the renewal was not answered in time')),
    );
    this.#next.resolve(renewal);
    const { done, value } = await this.#answers.next();
    if (done === true) throw new Unavailable('SERVICE_UNAVAILABLE', 'the directory ended the stream');
    if (value.leaseTtl === undefined)
      throw new NotFound('RESOURCE_NOT_FOUND', 'the instance is to be registered');
  }

  [Symbol.dispose](): void {
    this.#over.abort();
    this.#answers.return?.().catch(() => undefined);
  }

  async *#requests(): AsyncGenerator<DeepPartial<KeepInstancesRequest>> {
    for (;;) {
      const renewal = await this.#next.promise;
      this.#next = Promise.withResolvers<Renewal>();
      yield { renewal };
    }
  }
}
