/**
 * Submissions that another instance is to take: one stream to each, on which they travel in frames.
 * Invariant: each is answered, or fails as `Unavailable` when the stream breaks; being idempotent on their uid, they
 * may then be brought to whoever owns them next. A crash forgets them: their submitters try again.
 */
import { Frames } from '@nephos/jobs/protocol';
import type { NewJob, SubmitRequest, SubmitResult } from '@nephos/proto/nephos/jobs/v1/jobs';
import { runAs } from '@nephos/service';
import { NotOwned } from '../scheduling/not-owned.ts';
import { forwardedKey, type Peer } from './router.ts';

interface Stream {
  readonly frames: Frames<NewJob>;
  readonly waiting: Map<string, PromiseWithResolvers<SubmitResult>>;
}

export class PeerSubmissions implements Disposable {
  readonly #instance: string;
  readonly #streams = new Map<string, Stream>();
  readonly #closing = new AbortController();

  constructor(instance: string) {
    this.#instance = instance;
  }

  /** Throws `Unavailable`: the stream broke, or the signal aborted. */
  async submit(address: string, peer: Peer, job: NewJob, signal: AbortSignal): Promise<SubmitResult> {
    const { frames, waiting } = this.#streams.get(address) ?? this.#open(address, peer);
    const known = waiting.get(job.uid);
    if (known !== undefined) return await known.promise;
    const answer = Promise.withResolvers<SubmitResult>();
    waiting.set(job.uid, answer);
    frames.push(job);
    const giveUp = (): void => answer.reject(new NotOwned());
    signal.addEventListener('abort', giveUp, { once: true });
    try {
      return await answer.promise;
    } finally {
      signal.removeEventListener('abort', giveUp);
      waiting.delete(job.uid);
    }
  }

  [Symbol.dispose](): void {
    this.#closing.abort();
    for (const { frames } of this.#streams.values()) frames.end();
  }

  #open(address: string, peer: Peer): Stream {
    const frames = new Frames<NewJob>(({ input }) => JSON.stringify(input ?? {}).length);
    const stream: Stream = { frames, waiting: new Map() };
    this.#streams.set(address, stream);
    // It belongs to nobody's call: no deadline, no principal.
    void runAs({}, () => this.#run(address, peer, stream));
    return stream;
  }

  async #run(address: string, peer: Peer, { frames, waiting }: Stream): Promise<void> {
    try {
      const options = { signal: this.#closing.signal, metadata: { [forwardedKey]: this.#instance } };
      for await (const { results } of peer.submit(requestsOf(frames), options)) {
        for (const result of results) waiting.get(result.uid)?.resolve(result);
      }
    } catch {
      // Whatever broke it: what has no answer is brought elsewhere.
    } finally {
      this.#streams.delete(address);
      frames.end();
      for (const { reject } of waiting.values())
        reject(new NotOwned('the stream to the owner of the jobs broke'));
    }
  }
}

async function* requestsOf(frames: Frames<NewJob>): AsyncGenerator<SubmitRequest> {
  for await (const jobs of frames) yield { jobs: [...jobs] };
}
