/** Tests that need a real server of MongoDB's wire protocol, and what is said where there is none. */
import { afterAll, expect, test } from '@jest/globals';
import { type MongoServer, startMongoServer } from './mongo-server.ts';

/**
 * Declares tests on a server of their own, which ends after them. Where no server can be had, one test says so in its
 * name instead; it fails where NEPHOS_REQUIRE_MONGODB asks for one.
 */
export async function onMongo(declare: (server: MongoServer) => void): Promise<void> {
  const server = await startMongoServer();
  if ('missing' in server) {
    test(`NOT TESTED, there is no MongoDB server: ${server.missing}`, () => {
      expect(process.env['NEPHOS_REQUIRE_MONGODB']).toBeUndefined();
    });
    return;
  }
  declare(server);
  // What the tests opened on it ends before it.
  afterAll(async () => await server[Symbol.asyncDispose]());
}
