/**
 * Fencing at the side effect (DESIGN section 8): keeps durably the highest fence seen for each entity and refuses
 * lower ones, so that an executor that lost its lease can touch nothing. Owner: the plugin whose store it is.
 * Invariant: whoever is let through has its fence on disk first. A crash after that leaves a fence without a
 * deed, which forbids nothing to the same or a newer operation.
 */
import type { Fence } from '@nephos/proto/nephos/plugin/v1/plugin';
import { AlreadyExists, type Clock, Conflict, isUid, NotFound, refuseFields } from '@nephos/service';
import { type Collection, defineCollection, type Store } from '@nephos/store';

interface FenceRecord {
  readonly generation: number;
  readonly epoch: number;
  readonly sequence: number;
  /** RFC 3339, when it was last raised; for sweeping only. */
  readonly raisedTime: string;
  /** Set once the entity is gone from here: the record may be forgotten a day later. */
  readonly entityGone?: boolean;
}

const fences = defineCollection<FenceRecord>({
  name: 'fences',
  schemaVersion: 1,
  indexes: { gone: { fields: ['entityGone', 'raisedTime'] } },
});

const keepGoneMs = 24 * 60 * 60_000;
const sweepPage = 1000;

/** What lets operations through; a guard that admits all is what a test takes to prove that fences matter. */
export interface Guard {
  /** Throws `Conflict` FENCED for a fence lower than one seen before, `Invalid` for none. */
  admit(fence: Fence | undefined, entityUid: string): Promise<void>;
  /** The entity is gone from here: the fence is kept for a day more, unless a newer operation came meanwhile. */
  entityGone(fence: Fence | undefined, entityUid: string): Promise<void>;
}

export class FenceGuard implements Guard {
  readonly #fences: Collection<FenceRecord>;
  readonly #clock: Clock;

  private constructor(collection: Collection<FenceRecord>, clock: Clock) {
    this.#fences = collection;
    this.#clock = clock;
  }

  static async open(store: Store, clock: Clock): Promise<FenceGuard> {
    return new FenceGuard(await store.collection(fences), clock);
  }

  async admit(fence: Fence | undefined, entityUid: string): Promise<void> {
    const asked = checked(fence, entityUid, this.#clock);
    for (;;) {
      const known = await this.#fences.get(entityUid);
      if (known === undefined ? await this.#insert(entityUid, asked) : await this.#raise(entityUid, asked))
        return;
    }
  }

  async entityGone(fence: Fence | undefined, entityUid: string): Promise<void> {
    const asked = checked(fence, entityUid, this.#clock);
    try {
      await this.#fences.modify(entityUid, ({ value }) =>
        compare(asked, value) === 0 ? { value: { ...value, entityGone: true } } : undefined,
      );
    } catch (error) {
      if (!(error instanceof NotFound)) throw error;
    }
  }

  /** Forgets fences of entities that are gone for a day. */
  async sweep(): Promise<void> {
    const before = new Date(this.#clock.now().getTime() - keepGoneMs).toISOString();
    const where = { entityGone: true, raisedTime: { lt: before } };
    let cursor: string | undefined;
    do {
      const page = await this.#fences.find({
        where,
        orderBy: 'gone',
        limit: sweepPage,
        ...(cursor !== undefined && { cursor }),
      });
      for (const { id, revision } of page.items) {
        await this.#fences.remove(id, revision).catch((error: unknown) => {
          if (!(error instanceof NotFound || error instanceof Conflict)) throw error;
        });
      }
      cursor = page.nextCursor;
    } while (cursor !== undefined);
  }

  /** False when it was swept just now. Throws `Conflict` FENCED. */
  async #raise(entityUid: string, asked: FenceRecord): Promise<boolean> {
    try {
      await this.#fences.modify(entityUid, ({ value }) => {
        const order = compare(asked, value);
        if (order < 0) throw fenced(entityUid, value);
        return order === 0 && value.entityGone === undefined ? undefined : { value: asked };
      });
      return true;
    } catch (error) {
      if (error instanceof NotFound) return false;
      throw error;
    }
  }

  async #insert(entityUid: string, record: FenceRecord): Promise<boolean> {
    try {
      await this.#fences.insert(entityUid, record);
      return true;
    } catch (error) {
      if (error instanceof AlreadyExists) return false;
      throw error;
    }
  }
}

function checked(fence: Fence | undefined, entityUid: string, clock: Clock): FenceRecord {
  if (fence === undefined || fence.entityUid !== entityUid || !isUid(entityUid)) {
    refuseFields([{ field: 'fence.entity_uid', description: `must be the entity touched, ${entityUid}` }]);
  }
  const { generation = 0n, epoch = 0n, sequence = 0n } = fence ?? {};
  // Larger ones would be rounded, and a lower fence might then pass for an equal one.
  refuseFields(
    Object.entries({ generation, epoch, sequence }).flatMap(([field, value]) =>
      value >= 0n && value <= BigInt(Number.MAX_SAFE_INTEGER)
        ? []
        : [{ field: `fence.${field}`, description: 'must be 0 to 2^53-1' }],
    ),
  );
  return {
    generation: Number(generation),
    epoch: Number(epoch),
    sequence: Number(sequence),
    raisedTime: clock.now().toISOString(),
  };
}

/** By generation, then epoch, then sequence. */
function compare(a: FenceRecord, b: FenceRecord): number {
  return a.generation - b.generation || a.epoch - b.epoch || a.sequence - b.sequence;
}

function fenced(entityUid: string, { generation, epoch, sequence }: FenceRecord): Conflict {
  return new Conflict('FENCED', 'a newer operation holds the entity: this one may touch nothing any more', {
    metadata: { entity: entityUid, held: `${generation}.${epoch}.${sequence}` },
  });
}
