/**
 * The broker's accounts, changed over a connection of its system account: statements are pushed, looked at and
 * taken away. Nothing is kept here; every method is safe to repeat.
 */
import { encodeGeneric, type KeyPair } from '@nats-io/jwt';
import type { NatsConnection } from '@nats-io/nats-core';
import { connect, credsAuthenticator } from '@nats-io/transport-node';
import { NephosError, Precondition, Unavailable } from '@nephos/service';
import { credsReader } from './creds-file.ts';

const answerMs = 5_000;

interface Answer {
  readonly data?: unknown;
  readonly error?: { readonly description?: string };
}

export class BrokerAccounts implements AsyncDisposable {
  readonly #connection: NatsConnection;

  private constructor(connection: NatsConnection) {
    this.#connection = connection;
  }

  /**
   * Connects with a file of the system account's credentials. Throws `Unavailable` while the broker is away,
   * `Precondition` where the file is missing or refused.
   */
  static async connect(servers: string, systemCreds: string): Promise<BrokerAccounts> {
    const read = credsReader(systemCreds);
    read();
    try {
      return new BrokerAccounts(
        await connect({
          servers: servers.split(',').map((server) => server.trim()),
          name: 'nephos/accounts',
          authenticator: credsAuthenticator(read),
          reconnect: false,
          timeout: answerMs,
        }),
      );
    } catch (cause) {
      if (cause instanceof NephosError) throw cause;
      throw new Unavailable('SERVICE_UNAVAILABLE', 'the broker takes no connection for its accounts', {
        cause,
      });
    }
  }

  get isClosed(): boolean {
    return this.#connection.isClosed();
  }

  /** Resolves when the connection is lost. */
  closed(): Promise<unknown> {
    return this.#connection.closed();
  }

  /** Puts a statement in force; the server cuts at once what it forbids. Throws `Unavailable`, `Precondition`. */
  async push(statement: string): Promise<void> {
    await this.#ask('$SYS.REQ.CLAIMS.UPDATE', statement);
  }

  /** Public keys of the accounts that the broker has statements of. */
  async list(): Promise<ReadonlySet<string>> {
    const { data } = await this.#ask('$SYS.REQ.CLAIMS.LIST', '');
    return new Set(data as readonly string[]);
  }

  /** The statement in force, as it was pushed. Of an account that is not listed, the broker does not answer. */
  async statementOf(account: string): Promise<string> {
    return await this.#request(`$SYS.REQ.ACCOUNT.${account}.CLAIMS.LOOKUP`, '');
  }

  /** Takes accounts away for good; gone already is success. `by`: the operator's signing key. */
  async remove(accounts: readonly string[], by: KeyPair): Promise<void> {
    await this.#ask('$SYS.REQ.CLAIMS.DELETE', await encodeGeneric('nephos', by, 'generic', { accounts }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection.close();
  }

  async #ask(subject: string, body: string): Promise<Answer> {
    const answer = JSON.parse(await this.#request(subject, body)) as Answer;
    const { error } = answer;
    if (error === undefined) return answer;
    throw new Precondition(
      'STATE_FORBIDS',
      `the broker refuses an account's statement: ${error.description ?? 'it does not say why'}`,
    );
  }

  async #request(subject: string, body: string): Promise<string> {
    try {
      return (await this.#connection.request(subject, body, { timeout: answerMs })).string();
    } catch (cause) {
      throw new Unavailable('SERVICE_UNAVAILABLE', 'the broker does not answer about its accounts', {
        cause,
      });
    }
  }
}
