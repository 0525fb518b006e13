/**
 * Keeps one line for each webhook that is enabled, and none for any other: level-triggered, from the records alone,
 * every moment anew. It runs on one instance at a time. What a deleted webhook leaves (its position at the broker,
 * its deliveries) is removed here, whenever that was; what is settled long ago is forgotten.
 */
import type { Stored } from '@nephos/store';
import { Line, type LineParts } from './adapters/line.ts';
import { forgetPositions } from './adapters/position.ts';
import type { WebhookRecord } from './domain/webhook.ts';

/** How often the records are looked at. */
const lookMs = 1000;
const sweepMs = 60_000;
/** Looking for what waits takes at most one part in so many of the time. */
const restFactor = 10;
const pageSize = 500;

export interface BridgeParts extends LineParts {
  readonly keepDeliveredMs: number;
  readonly keepDeadMs: number;
}

interface Kept {
  readonly line: Line;
  readonly key: string;
}

export class Bridge {
  readonly #parts: BridgeParts;
  readonly #lines = new Map<string, Kept>();
  #sweepAt = 0;
  #refillAt = 0;

  constructor(parts: BridgeParts) {
    this.#parts = parts;
  }

  /** Runs until the signal aborts; then lets go of all lines. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#parts;
    try {
      while (!signal.aborted) {
        try {
          await this.#look();
          if (clock.monotonic() >= this.#sweepAt) await this.#sweep();
        } catch (error) {
          logger.warn({ err: error }, 'the webhooks could not be looked at');
        }
        await clock.sleep(lookMs, signal).catch(() => undefined);
      }
    } finally {
      await Promise.all([...this.#lines.keys()].map((uid) => this.#end(uid)));
    }
  }

  async #look(): Promise<void> {
    const wanted = new Map<string, WebhookRecord>();
    for await (const { id, value } of this.#all()) if (!value.disabled) wanted.set(id, value);
    for (const [uid, { key }] of [...this.#lines]) {
      const webhook = wanted.get(uid);
      if (webhook === undefined || Line.keyOf(webhook) !== key) await this.#end(uid);
    }
    const { clock } = this.#parts;
    const began = clock.monotonic();
    const refills = began >= this.#refillAt;
    for (const [uid, webhook] of wanted) {
      const known = this.#lines.get(uid);
      const line = known?.line ?? new Line(webhook, this.#parts);
      line.webhook = webhook;
      if (known === undefined) this.#lines.set(uid, { line, key: Line.keyOf(webhook) });
      if (refills) await line.refill();
    }
    const ended = clock.monotonic();
    if (refills) this.#refillAt = ended + (ended - began) * restFactor;
  }

  async #end(uid: string): Promise<void> {
    const kept = this.#lines.get(uid);
    this.#lines.delete(uid);
    await kept?.line[Symbol.asyncDispose]();
  }

  async *#all(): AsyncGenerator<Stored<WebhookRecord>> {
    let cursor: string | undefined;
    do {
      const page = await this.#parts.webhooks.find({
        limit: pageSize,
        ...(cursor !== undefined && { cursor }),
      });
      yield* page.items;
      cursor = page.nextCursor;
    } while (cursor !== undefined);
  }

  async #sweep(): Promise<void> {
    const { log, webhooks, clock, keepDeliveredMs, keepDeadMs } = this.#parts;
    const now = clock.now().getTime();
    await log.forget('delivered', new Date(now - keepDeliveredMs));
    await log.forget('dead', new Date(now - keepDeadMs));
    // Long overdue: the webhook is gone, or disabled for so long that nobody wants them any more.
    await log.forget('pending', new Date(now - keepDeadMs));
    const there = new Set<string>();
    for await (const { id } of this.#all()) there.add(id);
    // The position goes last: by it a deleted webhook is known here, also after a crash.
    await forgetPositions(this.#parts.bus, async (uid) => {
      if (there.has(uid) || this.#lines.has(uid) || (await webhooks.get(uid)) !== undefined) return false;
      for await (const { id } of log.all(uid)) await log.drop(id);
      return true;
    });
    this.#sweepAt = clock.monotonic() + sweepMs;
  }
}
