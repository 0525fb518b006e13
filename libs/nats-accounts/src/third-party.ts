/**
 * A third party's account: its keys, and the statement by which the broker knows it. The account can ask for the
 * next messages of its own consumers, look at them and acknowledge, and nothing else; it has no JetStream.
 * Invariants: no private key of it is kept by anybody but the third party, since a user's key is made once, handed
 * out and forgotten, and the key that vouched for the user is thrown away; who has newer credentials has the only
 * ones. Pure but for the signing.
 */
import {
  createAccount,
  createUser,
  encodeAccount,
  encodeUser,
  type Import,
  type KeyPair,
} from '@nats-io/jwt';
import { credsText } from './broker-keys.ts';
import { madeAfter } from './made-after.ts';

/** What a third party has a consumer on: the events, and the last one of each entity. */
export const thirdPartyStreams = ['NEPHOS_EVENTS', 'NEPHOS_STATE'] as const;

/** The JetStream domain by which a third party's client finds its consumers: `$JS.nephos.API.…`. */
export const thirdPartyDomain = 'nephos';

/** What a third party's connections may be, taken together. */
export const thirdPartyLimits = {
  connections: 8,
  subscriptions: 256,
  /** Of what it publishes, in bytes: requests and acknowledgements. */
  payload: 4096,
} as const;

/** Public keys; what is kept of an account. */
export interface ThirdPartyKeys {
  /** The account, and the name of its consumers. */
  readonly account: string;
  /** Whom the account trusts to vouch for users. */
  readonly signer: string;
}

export interface IssuedCredentials extends ThirdPartyKeys {
  /** A .creds file. The only copy. */
  readonly creds: string;
}

/** The name of a new account. */
export function newAccountKey(): string {
  return createAccount().getPublicKey();
}

/** Credentials for the account, with keys that nobody has. `expireTime`: they end then. */
export async function issueCredentials(account: string, expireTime?: Date): Promise<IssuedCredentials> {
  const signer = createAccount();
  const user = createUser();
  const own = thirdPartyStreams.flatMap((stream) => servicesOf(stream, account).map(({ local }) => local));
  const permissions = {
    pub: { allow: own },
    sub: { allow: ['_INBOX.>'] },
    allowed_connection_types: ['STANDARD' as const, 'WEBSOCKET' as const],
  };
  const token = await encodeUser('third-party', user, account, permissions, {
    signer,
    ...expiry(expireTime),
  });
  return { account, signer: signer.getPublicKey(), creds: credsText(token, user) };
}

interface Signed {
  /** The operator's signing key. */
  readonly by: KeyPair;
  /** Public key of the account that exports the consumers. */
  readonly platform: string;
}

interface StatementOptions {
  readonly expireTime?: Date | undefined;
  /** The statement of the same account that this one replaces; see made-after.ts. */
  readonly after?: string | undefined;
}

/** The statement that lets the account in, up to `expireTime`. */
export async function openStatement(
  keys: ThirdPartyKeys,
  { by, platform }: Signed,
  { expireTime, after }: StatementOptions = {},
): Promise<string> {
  const imports = thirdPartyStreams.flatMap((stream) =>
    servicesOf(stream, keys.account).map(
      ({ local, remote }): Import => ({
        name: remote,
        subject: remote,
        account: platform,
        type: 'service',
        ...(local !== remote && { local_subject: local }),
      }),
    ),
  );
  const account = {
    imports,
    signing_keys: [keys.signer],
    limits: {
      ...closed,
      imports: imports.length,
      conn: thirdPartyLimits.connections,
      subs: thirdPartyLimits.subscriptions,
      payload: thirdPartyLimits.payload,
    },
  };
  const options = { signer: by, ...expiry(expireTime) };
  return madeAfter(after, await encodeAccount('third-party', keys.account, account, options), by);
}

/** The statement that shuts the account out: its connections are cut, and nobody gets in any more. */
export async function closedStatement(
  account: string,
  { by }: Pick<Signed, 'by'>,
  { after }: Pick<StatementOptions, 'after'> = {},
): Promise<string> {
  return madeAfter(
    after,
    await encodeAccount('third-party', account, { limits: closed }, { signer: by }),
    by,
  );
}

const closed = {
  subs: 0,
  data: -1,
  payload: 0,
  imports: 0,
  exports: 0,
  wildcards: false,
  conn: 0,
  leaf: 0,
  disallow_bearer: true,
} as const;

interface ImportedService {
  readonly local: string;
  readonly remote: string;
}

/**
 * The requests are imported under a domain's prefix: under the plain one, which every account has from the server,
 * two would answer, and the one that knows no JetStream is the faster.
 */
function servicesOf(stream: string, account: string): readonly ImportedService[] {
  const api = (verb: string): ImportedService => ({
    local: `$JS.${thirdPartyDomain}.API.CONSUMER.${verb}.${stream}.${account}`,
    remote: `$JS.API.CONSUMER.${verb}.${stream}.${account}`,
  });
  const acknowledge = `$JS.ACK.${stream}.${account}.>`;
  return [api('INFO'), api('MSG.NEXT'), { local: acknowledge, remote: acknowledge }];
}

function expiry(expireTime: Date | undefined): { exp?: number } {
  return expireTime === undefined ? {} : { exp: Math.ceil(expireTime.getTime() / 1000) };
}
