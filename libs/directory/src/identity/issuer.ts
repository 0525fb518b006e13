/**
 * Issues services' tokens where nobody else does: the local platform and tests. On Kubernetes its API server issues
 * them (docs/kubernetes.md). The private key lies in its folder, readable by its owner alone; the public half beside
 * it is what the directory trusts. A crash leaves whole files: each is replaced by renaming.
 */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { newUid } from '@nephos/service';
import { exportJWK, generateKeyPair, importJWK, type JWK, SignJWT } from 'jose';

/** The audience of tokens that the directory takes. */
export const directoryAudience = 'nephos-directory';

/** In the issuer's folder: the public key set, and each service's token. */
export const trustFile = 'trusted.jwks.json';
export const tokenFile = (service: string) => `${service}.jwt`;

const algorithm = 'EdDSA';
const issuerName = 'nephos-local';
const ownerOnly = 0o600;

export interface TokenClaims {
  /** The service's name in the directory. */
  readonly service: string;
  /** The only instance that may use it; default: any of the service. */
  readonly instance?: string;
  readonly audience?: string;
  readonly issuedAt: Date;
  readonly lifetimeMs: number;
}

export interface Issuer {
  /** File of the public key set (JWKS, RFC 7517): NEPHOS_DIRECTORY_TRUST. */
  readonly trust: string;
  sign(claims: TokenClaims): Promise<string>;
  /** Writes a service's token into the folder; the file's path: NEPHOS_IDENTITY. */
  write(claims: TokenClaims): Promise<string>;
}

interface KeyFile {
  readonly kid: string;
  readonly key: JWK;
}

/** Opens the issuer of a folder, making its key where there is none. */
export async function openIssuer(folder: string): Promise<Issuer> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const keyFile = path.join(folder, 'issuer.key.json');
  const trust = path.join(folder, trustFile);
  const { kid, key } = (await readKey(keyFile)) ?? (await makeKey(keyFile));
  const { d: _secret, ...open } = key;
  await replace(trust, JSON.stringify({ keys: [{ ...open, kid, alg: algorithm, use: 'sig' }] }), 0o644);
  const privateKey = await importJWK(key, algorithm);

  const sign = ({ service, instance, audience, issuedAt, lifetimeMs }: TokenClaims): Promise<string> =>
    new SignJWT(instance === undefined ? {} : { instance })
      .setProtectedHeader({ alg: algorithm, kid })
      .setIssuer(issuerName)
      .setSubject(service)
      .setAudience(audience ?? directoryAudience)
      .setJti(newUid())
      .setIssuedAt(issuedAt)
      .setExpirationTime(new Date(issuedAt.getTime() + lifetimeMs))
      .sign(privateKey);

  return {
    trust,
    sign,
    async write(claims) {
      const file = path.join(folder, tokenFile(claims.service));
      await replace(file, await sign(claims), ownerOnly);
      return file;
    },
  };
}

async function readKey(file: string): Promise<KeyFile | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as KeyFile;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function makeKey(file: string): Promise<KeyFile> {
  const { privateKey } = await generateKeyPair(algorithm, { crv: 'Ed25519', extractable: true });
  const made = { kid: newUid(), key: await exportJWK(privateKey) };
  await replace(file, JSON.stringify(made), ownerOnly);
  return made;
}

async function replace(file: string, text: string, mode: number): Promise<void> {
  const fresh = `${file}.${newUid()}.tmp`;
  await writeFile(fresh, text, { mode });
  await rename(fresh, file);
}
