/** The surface of @nephos/nats-accounts. */
export { BrokerAccounts } from './accounts-connection.ts';
export { brokerConfig } from './broker-config.ts';
export {
  accountOf,
  type BrokerKeys,
  type KeyFiles,
  keyFilesIn,
  openBrokerKeys,
  seedKey,
} from './broker-keys.ts';
export { credsReader } from './creds-file.ts';
export {
  closedStatement,
  type IssuedCredentials,
  issueCredentials,
  newAccountKey,
  openStatement,
  type ThirdPartyKeys,
  thirdPartyDomain,
  thirdPartyLimits,
  thirdPartyStreams,
} from './third-party.ts';
