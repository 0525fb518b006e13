/** Display names: unique per owner and zone among VMs that are not deleted. */
import { AlreadyExists, type HeaderRecord } from '@nephos/service';

type Named = Pick<HeaderRecord, 'owner' | 'zone' | 'displayName'>;

/** What a unique index binds. */
export function nameKeyOf({ owner, zone, displayName }: Named): string {
  return JSON.stringify([owner, zone, displayName]);
}

/** The refusal. */
export function nameTaken({ zone, displayName }: Named): AlreadyExists {
  const text = `there is a VM called ${JSON.stringify(displayName)} in ${zone} already: choose another name`;
  return new AlreadyExists('DISPLAY_NAME_TAKEN', text, { metadata: { display_name: displayName } });
}
