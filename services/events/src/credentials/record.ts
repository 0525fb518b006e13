/**
 * Third parties' credentials as stored, and the public message they become. Owner: the events service, the only
 * writer. What the broker shall have (a statement, two consumers) is written here first and brought about from here:
 * a crash leaves a record that is not `settled`.
 * Invariants: no secret is in a record; slice, account and expiry never change; an ended credential stays ended.
 */
import { defineEntity, type EntityCollection } from '@nephos/events';
import { thirdPartyDomain, thirdPartyStreams } from '@nephos/nats-accounts';
import { EventCredential, EventCredential_State as State } from '@nephos/proto/nephos/events/v1/credential';
import { type HeaderRecord, headerMessage } from '@nephos/service';
import { defineCollection } from '@nephos/store';

export const credentialStates = ['active', 'revoked', 'expired'] as const;
export type CredentialState = (typeof credentialStates)[number];

/** What is left out means any. `zone` is a resource name; owner and zone may be empty: those without one. */
export interface SliceRecord {
  readonly owner?: string;
  readonly zone?: string;
  readonly entity?: string;
}

/** `time`: RFC 3339. */
export type StartRecord = { readonly from: 'all' | 'now' } | { readonly from: 'time'; readonly time: string };

export interface CredentialRecord {
  readonly header: HeaderRecord;
  readonly slice: SliceRecord;
  readonly expireTime?: string;
  readonly state: CredentialState;
  /** Public keys, see @nephos/nats-accounts. */
  readonly account: string;
  readonly signer: string;
  readonly issueTime: string;
  /** What the broker shall know of the account. */
  readonly statement: string;
  /** By which keys of the broker it was made. */
  readonly madeFor: string;
  readonly start: StartRecord;
  /** Raised by each rewind; a consumer says of which it is. */
  readonly generation: number;
  /** The generation whose consumers were made once: what is missing of it was lost, and begins with all. */
  readonly madeGeneration: number;
  readonly settled: boolean;
}

export type Credentials = EntityCollection<CredentialRecord, EventCredential>;

const states = { active: State.ACTIVE, revoked: State.REVOKED, expired: State.EXPIRED } as const;

export const credentialEntity = defineEntity<CredentialRecord, EventCredential>({
  entity: 'event_credential',
  collection: 'eventCredentials',
  message: EventCredential,
  store: defineCollection<CredentialRecord>({
    name: 'event_credentials',
    schemaVersion: 1,
    indexes: {
      display_name: { fields: ['header.owner', 'header.zone', 'header.displayName'], unique: true },
      name: { fields: ['header.displayName'] },
      owner: { fields: ['header.owner'] },
      zone: { fields: ['header.zone'] },
      state: { fields: ['state'] },
      account: { fields: ['account'], unique: true },
    },
  }),
  toMessage: ({ value, eventSeq }) => ({
    header: headerMessage('eventCredentials', value.header, eventSeq),
    slice: { ...value.slice, everything: Object.keys(value.slice).length === 0 },
    expireTime: value.expireTime === undefined ? undefined : new Date(value.expireTime),
    state: states[value.state],
    account: value.account,
    streams: [...thirdPartyStreams].toReversed(),
    domain: thirdPartyDomain,
    start: { from: startMessage(value.start) },
    settled: value.settled,
    issueTime: new Date(value.issueTime),
  }),
  place: ({ header }) => header,
});

function startMessage(start: StartRecord) {
  if (start.from === 'time') return { $case: 'time' as const, value: new Date(start.time) };
  return { $case: start.from, value: true } as const;
}
