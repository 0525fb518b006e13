/**
 * What it takes to let somebody in at the broker: the operator's signing key, the system account's credentials and
 * the account that the platform itself is in. Read from files named by the configuration of this service alone.
 */
import { readFileSync } from 'node:fs';
import {
  accountOf,
  BrokerAccounts,
  closedStatement,
  openStatement,
  seedKey,
  type ThirdPartyKeys,
} from '@nephos/nats-accounts';
import { config, Precondition } from '@nephos/service';

export const credentialConfig = {
  natsSigner: config.text({
    description: "file with the NATS operator's signing seed, for third parties' credentials",
    default: '',
  }),
  natsSystemCreds: config.text({
    description: "file of credentials for the NATS system account, for third parties' credentials",
    default: '',
  }),
  credentialLimit: config.integer({
    description: 'how many credentials of third parties may be in force',
    default: 1000,
    min: 0,
  }),
} as const;

export interface AuthorityConfig {
  readonly nats: string;
  readonly natsCreds: string;
  readonly natsSigner: string;
  readonly natsSystemCreds: string;
}

/** Undefined where this service was not given the keys. Throws `Precondition` on files that are none. */
export async function openAuthority(config: AuthorityConfig): Promise<Authority | undefined> {
  const { nats, natsCreds, natsSigner, natsSystemCreds } = config;
  if (natsCreds === '' || natsSigner === '' || natsSystemCreds === '') return undefined;
  try {
    const platform = await accountOf(readFileSync(natsCreds, 'utf8'));
    const by = seedKey(readFileSync(natsSigner, 'utf8'));
    return new Authority(nats, natsSystemCreds, { by, platform });
  } catch (cause) {
    throw new Precondition('STATE_FORBIDS', `no key of the broker: ${natsSigner} or ${natsCreds}`, { cause });
  }
}

type Signing = Parameters<typeof openStatement>[1];

export class Authority implements AsyncDisposable {
  /** Tells by which keys a statement was made. */
  readonly mark: string;
  readonly #servers: string;
  readonly #systemCreds: string;
  readonly #signing: Signing;
  #accounts: Promise<BrokerAccounts> | undefined;

  constructor(servers: string, systemCreds: string, signing: Signing) {
    this.#servers = servers;
    this.#systemCreds = systemCreds;
    this.#signing = signing;
    this.mark = `${signing.by.getPublicKey()} ${signing.platform}`;
  }

  /** `after`: the statement that it replaces, if any. */
  statement(keys: ThirdPartyKeys, expireTime: Date | undefined, after?: string): Promise<string> {
    return openStatement(keys, this.#signing, { expireTime, after });
  }

  /** `after`: the statement that it replaces. */
  closing(account: string, after: string): Promise<string> {
    return closedStatement(account, this.#signing, { after });
  }

  /** Throws `Unavailable` while the broker is away. */
  async accounts(): Promise<BrokerAccounts> {
    const held = this.#accounts;
    const open = await held?.catch(() => undefined);
    if (open !== undefined && !open.isClosed) return open;
    // Of several that find it closed, one connects: nobody would end the others' connections.
    if (this.#accounts === held || this.#accounts === undefined)
      this.#accounts = BrokerAccounts.connect(this.#servers, this.#systemCreds);
    return await this.#accounts;
  }

  async forget(accounts: readonly string[]): Promise<void> {
    await (await this.accounts()).remove(accounts, this.#signing.by);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (await this.#accounts?.catch(() => undefined))?.[Symbol.asyncDispose]();
  }
}

export function withoutKeys(): Precondition {
  const description =
    'this service cannot let third parties in: it needs a broker in operator mode, and the files that NEPHOS_NATS_CREDS, NEPHOS_EVENTS_NATS_SIGNER and NEPHOS_EVENTS_NATS_SYSTEM_CREDS name; the local launcher sees to all of them';
  return new Precondition('STATE_FORBIDS', description, {
    preconditions: [{ type: 'STATE_FORBIDS', subject: 'NEPHOS_EVENTS_NATS_SIGNER', description }],
  });
}
