/**
 * Capacity as stored: the ledger of each host, and a pointer from each VM to the host whose ledger holds its
 * claim. Owner: adapters/capacity.ts, the only writer.
 * The pointer is written before the claim and removed after it, so a crash leaves at most a pointer without a
 * claim; the ledger alone says what is held. A host without a ledger takes no claims: it is being made or deleted.
 */
import { defineCollection } from '@nephos/store';
import type { Ledger } from '../domain/capacity/ledger.ts';

export const ledgers = defineCollection<Ledger>({ name: 'host_capacity', schemaVersion: 1, indexes: {} });

export interface ClaimPointer {
  readonly hostUid: string;
}

export const claimPointers = defineCollection<ClaimPointer>({
  name: 'claim_pointers',
  schemaVersion: 1,
  indexes: {},
});
