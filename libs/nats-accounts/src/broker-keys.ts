/**
 * The keys of one broker: its operator, the key that signs accounts for it, the system account and the platform's.
 * Owner: whoever starts the broker (the local launcher, an operator of a cluster). Invariants: made once, since
 * every account and credential hangs on them; the operator's own seed signs nothing but the operator's statement
 * and may be taken away once that is written.
 */
import path from 'node:path';
import {
  createAccount,
  createOperator,
  createUser,
  encodeUser,
  fmtCreds,
  fromSeed,
  type KeyPair,
  parseCreds,
} from '@nats-io/jwt';
import { madeOnce, readSecret, writeSecret } from './key-files.ts';

export interface BrokerKeys {
  readonly operator: KeyPair;
  /** Signs accounts. */
  readonly signer: KeyPair;
  /** The account of the broker itself: claims are pushed there. */
  readonly system: KeyPair;
  /** The account that all services share. */
  readonly platform: KeyPair;
  readonly files: KeyFiles;
}

/** Where a folder of keys has what; all are secrets. */
export interface KeyFiles {
  readonly folder: string;
  /** The seed that signs accounts, for the events service. */
  readonly signer: string;
  /** Credentials of the system account, for the events service. */
  readonly systemCreds: string;
  /** Credentials of one service, or of whoever else belongs to the platform. */
  credsOf(name: string): string;
}

export function keyFilesIn(folder: string): KeyFiles {
  return {
    folder,
    signer: path.join(folder, 'operator-signer.nk'),
    systemCreds: path.join(folder, 'creds', 'system.creds'),
    credsOf: (name) => path.join(folder, 'creds', `${name}.creds`),
  };
}

/**
 * Opens the folder's keys, makes what is missing, and sees to credentials for the system account and for each name.
 * Throws what the file system says, and on a file that is no key.
 */
export async function openBrokerKeys(folder: string, names: readonly string[]): Promise<BrokerKeys> {
  const files = keyFilesIn(folder);
  // Each file waits for the disk: all at once wait for it together.
  const [operator, signer, system, platform] = await Promise.all([
    key(path.join(folder, 'operator.nk'), createOperator),
    key(files.signer, createOperator),
    key(path.join(folder, 'system.nk'), createAccount),
    key(path.join(folder, 'platform.nk'), createAccount),
  ]);
  await Promise.all([
    ensureCreds(files.systemCreds, 'system', system),
    ...names.map((name) => ensureCreds(files.credsOf(name), name, platform)),
  ]);
  return { operator, signer, system, platform, files };
}

async function key(file: string, make: () => KeyPair): Promise<KeyPair> {
  const seed = await madeOnce(file, () => `${new TextDecoder().decode(make().getSeed())}\n`);
  return seedKey(seed);
}

/** The key pair of a seed as its file holds it. Throws when it is none. */
export function seedKey(text: string): KeyPair {
  return fromSeed(new TextEncoder().encode(text.trim()));
}

async function ensureCreds(file: string, name: string, account: KeyPair): Promise<void> {
  const there = await readSecret(file);
  if (there !== undefined && (await accountOf(there)) === account.getPublicKey()) return;
  const user = createUser();
  const token = await encodeUser(name, user, account);
  await writeSecret(file, credsText(token, user));
}

/** The public key of the account that credentials belong to. Throws on what are no credentials. */
export async function accountOf(creds: string): Promise<string> {
  return (await parseCreds(new TextEncoder().encode(creds))).aid;
}

/** A file of credentials, as every NATS client reads it. */
export function credsText(token: string, user: KeyPair): string {
  return new TextDecoder().decode(fmtCreds(token, user));
}
