/**
 * What makes a nats-server a broker of the platform: operator mode, so that nobody connects without credentials, a
 * system account, the platform's account with JetStream and what it exports to third parties, and a folder in which
 * the server keeps the accounts that are pushed to it. Pure but for the signing.
 */
import { type Export, encodeAccount, encodeOperator } from '@nats-io/jwt';
import type { BrokerKeys } from './broker-keys.ts';
import { thirdPartyStreams } from './third-party.ts';

const unlimited = {
  subs: -1,
  data: -1,
  payload: -1,
  imports: -1,
  exports: -1,
  wildcards: true,
  conn: -1,
  leaf: -1,
} as const;

const withJetStream = {
  mem_storage: -1,
  disk_storage: -1,
  streams: -1,
  consumer: -1,
  mem_max_stream_bytes: -1,
  disk_max_stream_bytes: -1,
  max_ack_pending: -1,
} as const;

/**
 * Lines for the server's configuration file. `resolverDir`: the server's own folder for accounts; each server of a
 * cluster has one, and they bring each other up to date.
 */
export async function brokerConfig(keys: BrokerKeys, resolverDir: string): Promise<string> {
  const { operator, signer, system, platform } = keys;
  const [systemKey, platformKey] = [system.getPublicKey(), platform.getPublicKey()];
  const operatorToken = await encodeOperator('nephos', operator, {
    signing_keys: [signer.getPublicKey()],
    system_account: systemKey,
  });
  const systemToken = await encodeAccount('SYSTEM', system, { limits: unlimited }, { signer });
  const account = { limits: { ...unlimited, ...withJetStream }, exports: exportsToThirdParties() };
  const platformToken = await encodeAccount('NEPHOS', platform, account, { signer });
  return [
    `operator: ${operatorToken}`,
    // A client signs before it is let in, and may be one of many that come back at once.
    'authorization { timeout: 15 }',
    `system_account: ${systemKey}`,
    'resolver {',
    '  type: full',
    `  dir: ${JSON.stringify(resolverDir)}`,
    '  allow_delete: true',
    // What a server that was away does not know is in force there until it has asked: an end, above all.
    '  interval: "5s"',
    '}',
    'resolver_preload {',
    `  ${systemKey}: ${systemToken}`,
    `  ${platformKey}: ${platformToken}`,
    '}',
    '',
  ].join('\n');
}

/**
 * A consumer bears the public key of the account that it is for, and the server itself lets an account import only
 * what has its own key in that place: a faulty claim could not reach another's consumer.
 */
function exportsToThirdParties(): Export[] {
  return thirdPartyStreams.flatMap((stream) => [
    service(`info-${stream}`, `$JS.API.CONSUMER.INFO.${stream}.*`, 6),
    { ...service(`next-${stream}`, `$JS.API.CONSUMER.MSG.NEXT.${stream}.*`, 7), response_type: 'Stream' },
    service(`ack-${stream}`, `$JS.ACK.${stream}.*.>`, 4),
  ]);
}

function service(name: string, subject: string, accountPosition: number): Export {
  return {
    name,
    subject,
    type: 'service',
    response_type: 'Singleton',
    account_token_position: accountPosition,
  };
}
