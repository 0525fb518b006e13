/** One executor's stream, as job control sees it: what it can run, how much, and what it holds. */

import { Frames } from '@nephos/jobs/protocol';
import type { ExecutorHello, ExecutorOrder, ReportAck } from '@nephos/proto/nephos/jobs/v1/executor';
import type { LiveJob } from './live-job.ts';

export class Session {
  /** Instance id of the executor's process. */
  readonly executor: string;
  readonly service: string;
  /** Type to version. */
  readonly versions: ReadonlyMap<string, number>;
  readonly orders = new Frames<ExecutorOrder>(textOf);
  readonly held = new Map<string, LiveJob>();
  /** What it held when its partition went to another instance, and under which token. */
  readonly gone = new Map<string, bigint>();
  limit: number;
  /** Monotonic: when it was last heard of. */
  heardAt: number;
  /** It said that its process ends. */
  leaving = false;

  constructor(hello: ExecutorHello, now: number) {
    this.executor = hello.executor;
    this.service = hello.service;
    this.versions = new Map(hello.types.map(({ type, version }) => [type, version]));
    this.limit = hello.credit?.limit ?? 0;
    this.heardAt = now;
  }

  get free(): number {
    return this.leaving ? 0 : this.limit - this.held.size;
  }

  order(order: NonNullable<ExecutorOrder['order']>): void {
    this.orders.push({ order });
  }

  acknowledge(reportId: number, uid: string, outcome: NonNullable<ReportAck['outcome']>): void {
    if (reportId !== 0) this.order({ $case: 'ack', value: { reportId, uid, outcome } });
  }
}

/** How much JSON text an order carries. */
function textOf({ order }: ExecutorOrder): number {
  if (order?.$case === 'assign') {
    const { input, steps } = order.value;
    return steps.reduce((text, step) => text + step.input.length + step.result.length, input.length);
  }
  const outcome = order?.$case === 'ack' ? order.value.outcome : undefined;
  if (outcome?.$case !== 'children') return 0;
  return outcome.value.outcomes.reduce((text, { result }) => text + result.length, 0);
}

/** The executors connected, by what they can run. */
export class Sessions {
  readonly #byType = new Map<string, Set<Session>>();
  readonly #all = new Set<Session>();

  get all(): ReadonlySet<Session> {
    return this.#all;
  }

  add(session: Session): void {
    this.#all.add(session);
    for (const type of session.versions.keys()) {
      const sessions = this.#byType.get(type) ?? new Set();
      this.#byType.set(type, sessions.add(session));
    }
  }

  remove(session: Session): void {
    this.#all.delete(session);
    for (const type of session.versions.keys()) this.#byType.get(type)?.delete(session);
  }

  serves(type: string): boolean {
    return (this.#byType.get(type)?.size ?? 0) > 0;
  }

  /** Whoever has most room left, those with the job's own version of the definition first; `strict`: only those. */
  pick(type: string, version: number, strict: boolean): Session | undefined {
    let best: Session | undefined;
    let bestSame = false;
    for (const session of this.#byType.get(type) ?? []) {
      if (session.free <= 0) continue;
      const same = session.versions.get(type) === version;
      if (strict && !same) continue;
      if (best === undefined || (same && !bestSame) || (same === bestSame && session.free > best.free)) {
        best = session;
        bestSame = same;
      }
    }
    return best;
  }

  /** Somebody connected runs this very version. */
  knows(type: string, version: number): boolean {
    for (const session of this.#byType.get(type) ?? [])
      if (!session.leaving && session.versions.get(type) === version) return true;
    return false;
  }

  hasRoom(type: string): boolean {
    for (const session of this.#byType.get(type) ?? []) if (session.free > 0) return true;
    return false;
  }
}
