/** Renewals, by a call each or over a stream: both are the same word. Nothing here outlives a call but answers. */
import type {
  KeepInstancesRequest,
  KeepInstancesResponse,
  RenewInstanceRequest,
} from '@nephos/proto/nephos/directory/v1/directory_service';
import {
  type DeepPartial,
  durationOf,
  fieldInvalid,
  NotFound,
  parseResourceName,
  sentToMany,
} from '@nephos/service';
import type { Counter } from '@opentelemetry/api';
import { calleesOf, healthOf, loadOf } from '../domain/message.ts';
import type { Registry } from '../registry.ts';
import type { Admission, Caller } from './admission.ts';

export interface RenewingParts {
  readonly registry: Registry;
  readonly admission: Admission;
  readonly renewals: Pick<Counter, 'add'>;
  readonly now: () => Date;
}

/** The stream goes on for the other instances. */
function lost(error: unknown): number {
  if (error instanceof NotFound) return 0;
  throw error;
}

export function renewing({ registry, admission, renewals, now }: RenewingParts) {
  /** What streams answer, by lease in milliseconds (0: none): encoded once. */
  const kept = new Map<number, DeepPartial<KeepInstancesResponse>>();
  const renew = async (renewal: RenewInstanceRequest, caller: Caller): Promise<number> => {
    const { name, beat, health, load, callees } = renewal;
    const uid = parseResourceName('instances', name);
    const { state } = await registry.get(uid);
    await admission.check('renew', caller, uid, state.facts.service);
    const leaseMs = await registry.renew(uid, {
      beat: Number(beat),
      health: healthOf(health, 'health'),
      load: loadOf(load),
      callees: calleesOf(callees, now().toISOString()),
    });
    renewals.add(1);
    return leaseMs;
  };
  return {
    async renewInstance(renewal: RenewInstanceRequest, caller: Caller) {
      return { leaseTtl: durationOf(await renew(renewal, caller)) };
    },

    async *keepInstances(requests: AsyncIterable<KeepInstancesRequest>, caller: Caller) {
      for await (const { renewal } of requests) {
        if (renewal === undefined) throw fieldInvalid('renewal', 'is required', true);
        const leaseMs = await renew(renewal, caller).catch(lost);
        const answer =
          kept.get(leaseMs) ?? sentToMany(leaseMs === 0 ? {} : { leaseTtl: durationOf(leaseMs) });
        kept.set(leaseMs, answer);
        yield answer;
      }
    },
  };
}
