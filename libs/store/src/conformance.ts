// The suite that every adapter of the store passes, on its real database.
// Owner: libs/store; registers jest tests. Each test gets a store of its own and leaves nothing behind.
import { describe } from '@jest/globals';
import { batchTests, compareAndSetTests, documentTests } from './testing/documents.ts';
import { durabilityTests } from './testing/durability.ts';
import type { OpenFresh } from './testing/fixture.ts';
import { modelTests } from './testing/model.ts';
import { outboxTests } from './testing/outbox.ts';
import { queryTests } from './testing/queries.ts';
import { schemaTests } from './testing/schemas.ts';

export type { FreshStore, OpenFresh } from './testing/fixture.ts';

/** Registers the suite for one adapter. `openFresh` makes an empty database; it is destroyed after each test. */
export function storeConformance(name: string, openFresh: OpenFresh): void {
  describe(`${name} store`, () => {
    documentTests(openFresh);
    compareAndSetTests(openFresh);
    batchTests(openFresh);
    queryTests(openFresh);
    outboxTests(openFresh);
    schemaTests(openFresh);
    durabilityTests(openFresh);
    modelTests(openFresh);
  });
}
