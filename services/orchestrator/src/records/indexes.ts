/** Indexes that every resource of the orchestrator has. */
import type { IndexDefinition } from '@nephos/store';

/** Display names are unique per owner and zone; lists by owner and by zone are cheap. */
export const headerIndexes = {
  display_name: { fields: ['header.owner', 'header.zone', 'header.displayName'], unique: true },
  owner: { fields: ['header.owner'] },
  zone: { fields: ['header.zone'] },
  name: { fields: ['header.displayName'] },
} as const satisfies Record<string, IndexDefinition>;
