// What the suite's tests share: a fresh store, and a collection with every kind of index.
import type { Clock } from '@nephos/service';
import type { Store } from '../collection.ts';
import { defineCollection } from '../definition.ts';

/** An empty database that can be opened, closed and opened again. */
export interface FreshStore {
  /** What `openStore` takes, also in another process. */
  readonly url: string;
  open(options?: { readonly clock?: Clock }): Promise<Store>;
  destroy(): Promise<void>;
}

export type OpenFresh = () => Promise<FreshStore>;

export interface Part {
  readonly name?: string | null;
  readonly owner?: string;
  readonly rank?: number;
  readonly label?: string;
  readonly spec?: { readonly size: number; readonly hidden?: boolean };
  readonly note?: string;
}

export const parts = defineCollection<Part>({
  name: 'parts',
  schemaVersion: 1,
  indexes: {
    byName: { fields: ['name'], unique: true },
    byOwnerAndLabel: { fields: ['owner', 'label'], unique: true },
    byOwnerAndRank: { fields: ['owner', 'rank'] },
    byLabel: { fields: ['label'] },
    bySize: { fields: ['spec.size'] },
    byHidden: { fields: ['spec.hidden'] },
  },
});

/** Runs a test on a fresh, open store; closes and destroys it whatever happens. */
export async function withStore(
  openFresh: OpenFresh,
  test: (store: Store, fresh: FreshStore) => Promise<void>,
): Promise<void> {
  const fresh = await openFresh();
  try {
    await using store = await fresh.open();
    await test(store, fresh);
  } finally {
    await fresh.destroy();
  }
}

/** Runs `work` on a store that is open only meanwhile. */
export async function opened<R>(
  fresh: FreshStore,
  work: (store: Store) => Promise<R>,
  clock?: Clock,
): Promise<R> {
  await using store = await fresh.open(clock === undefined ? {} : { clock });
  return await work(store);
}
