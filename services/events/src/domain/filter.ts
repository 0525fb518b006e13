/** What of a watch's filter the caller may say, checked and turned into the library's. Pure. */
import type { EventFilter as FilterMessage } from '@nephos/proto/nephos/events/v1/event_service';
import { type FieldViolation, refuseFields } from '@nephos/service';

/** The library's EventFilter and EventTree; a domain knows no library but that of the services. */
export interface Selection {
  readonly tree: 'entities' | 'jobs';
  readonly filter: {
    readonly entity?: string;
    readonly owner?: string;
    readonly zone?: string;
    readonly id?: string;
  };
}

const entityWord = /^[a-z][a-z0-9_-]{0,62}$/;
const longest = 128;

/** Throws `Invalid` with every fault. Nothing in it can be a wildcard: the library escapes all but the entity. */
export function selectionOf(message: FilterMessage | undefined): Selection {
  const { entity, owner, zone, uid } = message ?? {};
  const faults: FieldViolation[] = [];
  if (entity !== undefined && !entityWord.test(entity)) {
    faults.push({ field: 'filter.entity', description: 'is an entity\'s word, e.g. "vm"' });
  }
  for (const [field, text] of Object.entries({ owner, zone, uid })) {
    if (text !== undefined && text.length > longest) {
      faults.push({ field: `filter.${field}`, description: `has at most ${longest} characters` });
    }
  }
  if (uid === '') faults.push({ field: 'filter.uid', description: 'is empty; leave it out for any' });
  refuseFields(faults);
  return {
    tree: entity === 'job' ? 'jobs' : 'entities',
    filter: {
      ...(entity !== undefined && { entity }),
      ...(owner !== undefined && { owner }),
      ...(zone !== undefined && { zone }),
      ...(uid !== undefined && { id: uid }),
    },
  };
}
