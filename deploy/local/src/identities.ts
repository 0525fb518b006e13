/**
 * The services' tokens on this machine: issued before the services start, and each day anew, long before they
 * expire. Services read the files again by themselves; a launcher that is away for a month costs the registrations
 * of those that go on without it.
 */
import { openIssuer } from '@nephos/directory/identity';
import type { Clock } from '@nephos/service';
import { type Layout, serviceNames } from './layout.ts';

const dayMs = 24 * 60 * 60 * 1000;
const lifetimeMs = 30 * dayMs;

/** Disposing ends the renewal; the files stay. */
export async function issueIdentities(
  { identity }: Pick<Layout, 'identity'>,
  clock: Clock,
  onFailure: (error: unknown) => void,
): Promise<Disposable> {
  const issuer = await openIssuer(identity.folder);
  const issue = async () => {
    for (const service of serviceNames) await issuer.write({ service, issuedAt: clock.now(), lifetimeMs });
  };
  await issue();
  return clock.every(dayMs, () => void issue().catch(onFailure));
}
