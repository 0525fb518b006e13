/** What a broker's filter means in the words of the platform. Pure. */

export interface Selected {
  readonly entity?: string;
  readonly owner?: string;
  readonly zone?: string;
  readonly uid?: string;
}

const form = /^nephos(?:-jobs)?\.v1\.([^.>]+)\.([^.>]+)\.([^.>]+)\.([^.>]+)$/;

/** Empty where the filter is of a form that others made: then only the subject tells. `decode` reads a token. */
export function selectedBy(filter: string, decode: (token: string) => string): Selected {
  const [, owner, zone, entity, uid] = form.exec(filter) ?? [];
  const read = (token: string | undefined): string | undefined => {
    if (token === undefined || token === '*') return undefined;
    try {
      return decode(token);
    } catch {
      return undefined;
    }
  };
  const zoneUid = read(zone);
  const found = {
    entity: read(entity),
    owner: read(owner),
    zone: zoneUid === undefined || zoneUid === '' ? zoneUid : `zones/${zoneUid}`,
    uid: read(uid),
  };
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
}
