/** Tokens by which the services of a platform under test prove to its directory who they are. */
import { openIssuer } from '@nephos/directory/identity';
import { type Environment, systemClock } from '@nephos/service';

const dayMs = 24 * 60 * 60 * 1000;

/** Writes a token for each name into the folder; gives the environment of each, the directory's trust included. */
export async function issueIdentities(
  folder: string,
  names: readonly string[],
): Promise<(name: string) => Environment> {
  const issuer = await openIssuer(folder);
  const issuedAt = systemClock.now();
  const files = new Map<string, string>();
  for (const service of names)
    files.set(service, await issuer.write({ service, issuedAt, lifetimeMs: dayMs }));
  return (name) => ({ NEPHOS_DIRECTORY_TRUST: issuer.trust, NEPHOS_IDENTITY: files.get(name) ?? '' });
}
