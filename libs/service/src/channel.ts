/**
 * One connection pool of a service's clients and the calls under way on it. Closing cancels those: grpc-js would
 * let a call that still waits for a connection hang until its deadline.
 */
import type { Client as GrpcClient } from '@grpc/grpc-js';
import type { CallTally } from './call-counts.ts';
import { Cancelled } from './errors.ts';

/** A call under way. */
export interface UnderWay {
  cancel(): void;
}

export class Channel {
  readonly grpc: GrpcClient;
  /** Calls wait for a connection until their deadline. */
  readonly waitForReady: boolean;
  readonly tally: CallTally;
  /** The service that is called here, by its name in the directory; undefined where nobody said. */
  readonly service: string | undefined;
  readonly #calls = new Set<UnderWay>();
  #closed = false;

  constructor(grpc: GrpcClient, waitForReady: boolean, since: Date, service?: string) {
    this.grpc = grpc;
    this.waitForReady = waitForReady;
    this.service = service;
    this.tally = { calls: 0, failures: 0, since };
  }

  /** Why no call can be made any more; undefined while it can. */
  get closed(): Cancelled | undefined {
    return this.#closed ? new Cancelled('CALL_CANCELLED', 'the service that calls has stopped') : undefined;
  }

  began(call: UnderWay): void {
    this.#calls.add(call);
  }

  ended(call: UnderWay): void {
    this.#calls.delete(call);
  }

  close(): void {
    this.#closed = true;
    for (const call of this.#calls) call.cancel();
    this.#calls.clear();
    this.grpc.close();
  }
}
