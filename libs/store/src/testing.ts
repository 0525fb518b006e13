// What tests of other packages need of the store: a server that speaks MongoDB's wire protocol.
export { type MongoServer, startMongoServer } from './testing/mongo-server.ts';
