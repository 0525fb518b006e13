/** Third parties' credentials, put together: records, calls, and the loop that brings the broker to the records. */
import { type Bus, openEntity } from '@nephos/events';
import { openIdempotency, sweepRequests } from '@nephos/idempotency';
import { CredentialServiceDefinition } from '@nephos/proto/nephos/events/v1/credential';
import type { ServiceContext } from '@nephos/service';
import type { Store } from '@nephos/store';
import { credentialsApi } from './api.ts';
import { type AuthorityConfig, openAuthority } from './authority.ts';
import { Reconciler } from './reconciler.ts';
import { credentialEntity } from './record.ts';

export interface CredentialContext extends Omit<ServiceContext, 'config'> {
  readonly config: AuthorityConfig & { readonly credentialLimit: number };
}

/** Throws `Precondition` on key files that are none. */
export async function startCredentials(
  ctx: CredentialContext,
  { store, bus }: { readonly store: Store; readonly bus: Bus },
): Promise<void> {
  const { clock, log, config } = ctx;
  const credentials = await openEntity(store, credentialEntity, { source: ctx.name, clock });
  const idempotency = await openIdempotency(store, { clock, log });
  const authority = await openAuthority(config);
  const issuing = authority && {
    authority: ctx.resources.use(authority),
    reconciler: new Reconciler({ credentials, authority, bus, clock, log }),
  };
  const parts = { credentials, bus, idempotency, clock, issuing, limit: config.credentialLimit };
  ctx.server.add(CredentialServiceDefinition, credentialsApi(parts));
  ctx.background('credential requests', (signal) => sweepRequests(idempotency, { clock }, signal));
  if (issuing) ctx.background('third parties', (signal) => issuing.reconciler.run(signal));
}
