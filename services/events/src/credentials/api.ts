/**
 * CredentialService. A secret exists in the answer to the call that made it and nowhere else: it is made before the
 * request is accepted, handed out only by the process that made it, and what is stored are public keys.
 */
import type { Bus } from '@nephos/events';
import { issueCredentials, newAccountKey } from '@nephos/nats-accounts';
import {
  CreateEventCredentialRequest,
  CredentialServiceDefinition,
  RewindEventCredentialRequest,
  RotateEventCredentialRequest,
} from '@nephos/proto/nephos/events/v1/credential';
import {
  creating,
  findResource,
  headerFields,
  type StandardParts,
  standardMethods,
  withCheckedHeader,
} from '@nephos/resources';
import { checkEntityWord } from '@nephos/schemas';
import {
  type Clock,
  Conflict,
  checkEtag,
  Exhausted,
  fieldInvalid,
  type Implementation,
  newHeader,
  newUid,
  Precondition,
  touched,
} from '@nephos/service';
import { enumField, type Json, type Stored } from '@nephos/store';
import { type Authority, withoutKeys } from './authority.ts';
import type { Reconciler } from './reconciler.ts';
import { type CredentialRecord, type Credentials, credentialStates, type StartRecord } from './record.ts';
import { sliceOf, startOf } from './requests.ts';

export interface CredentialParts extends StandardParts {
  readonly credentials: Credentials;
  readonly bus: Pick<Bus, 'session'>;
  /** Undefined where this service was not given the keys. */
  readonly issuing: { readonly authority: Authority; readonly reconciler: Reconciler } | undefined;
  readonly limit: number;
}

const kind = {
  contract: CredentialServiceDefinition,
  kind: 'EventCredential',
  field: 'credential',
  fields: { ...headerFields, state: enumField('state', credentialStates) },
} as const;

const service = '/nephos.events.v1.CredentialService';

type Api = Implementation<typeof CredentialServiceDefinition>;

export function credentialsApi(parts: CredentialParts): Api {
  const { credentials } = parts;
  return {
    ...standardMethods({ ...kind, entity: credentials, own: ['createEventCredential'] }, parts),
    ...issuance(parts),
    ...rotating(parts),
    ...revoking(parts),
    ...rewinding(parts),
  };
}

function issuance(parts: CredentialParts): Pick<Api, 'createEventCredential'> {
  const { credentials, idempotency, clock } = parts;
  const create = creating<CredentialRecord, Stored<CredentialRecord>>(idempotency, {
    name: `${service}/CreateEventCredential`,
    entity: credentials,
    inserted: async (stored) => (await parts.issuing?.reconciler.settle(stored.id)) ?? stored,
    answer: (stored) => stored,
  });
  return {
    createEventCredential: async (request, call) => {
      const { authority } = issuing(parts);
      let own: { readonly signer: string; readonly creds: string } | undefined;
      const stored = await create(call, CreateEventCredentialRequest.encode(request).finish(), async () => {
        const {
          header: input,
          slice,
          expireTime,
          start,
        } = withCheckedHeader(request.credential, 'credential');
        checkFuture(expireTime, clock);
        const settings = { slice: sliceOf(slice), start: startOf(start, 'credential.start') };
        const { entity } = settings.slice;
        if (entity !== undefined) await checkEntityWord(parts.bus, entity, 'credential.slice.entity');
        await checkRoom(parts);
        const issued = await issueCredentials(newAccountKey(), expireTime);
        own = issued;
        const entityUid = newUid();
        const header = newHeader(entityUid, input, clock);
        const record: CredentialRecord = {
          header,
          ...settings,
          ...(expireTime !== undefined && { expireTime: expireTime.toISOString() }),
          state: 'active',
          account: issued.account,
          signer: issued.signer,
          issueTime: header.createTime,
          statement: await authority.statement(issued, expireTime),
          madeFor: authority.mark,
          generation: 1,
          madeGeneration: 0,
          settled: false,
        };
        return { entityUid, body: record as unknown as Json };
      });
      const creds = own?.signer === stored.value.signer ? own.creds : '';
      return { credential: credentials.message(stored), creds };
    },
  };
}

interface RotateBody {
  readonly signer: string;
  readonly replaces: string;
  readonly statement: string;
  readonly madeFor: string;
  readonly issueTime: string;
}

interface RewindBody {
  readonly start: StartRecord;
  readonly generation: number;
}

/** A write that the broker is then brought to. Undefined from `change`: nothing to do. */
type Change = (value: CredentialRecord) => Partial<CredentialRecord> | undefined;

async function changed(parts: CredentialParts, uid: string, verb: string, change: Change) {
  const next = (value: CredentialRecord): CredentialRecord | undefined => {
    const patch = change(value);
    return patch && { ...value, ...patch, header: touched(value.header, parts.clock), settled: false };
  };
  await parts.credentials.modify(uid, next, { verb });
  return await issuing(parts).reconciler.settle(uid);
}

function rotating(parts: CredentialParts): Pick<Api, 'rotateEventCredential'> {
  const { credentials, clock, idempotency } = parts;
  const rotate = idempotency.method<Json, Stored<CredentialRecord>>({
    name: `${service}/RotateEventCredential`,
    carryOut: ({ entityUid, body }) => {
      const { replaces, ...made } = body as unknown as RotateBody;
      return changed(parts, entityUid, 'rotated', (value) => {
        if (value.signer === made.signer) return undefined;
        // A repeat after others were made must not bring these back.
        if (value.signer !== replaces || value.state !== 'active') throw overtaken();
        return made;
      });
    },
    answer: ({ entityUid }) => findResource(credentials, `eventCredentials/${entityUid}`),
  });
  return {
    rotateEventCredential: async (request, call) => {
      const { authority } = issuing(parts);
      let own: { readonly signer: string; readonly creds: string } | undefined;
      const stored = await rotate(call, RotateEventCredentialRequest.encode(request).finish(), async () => {
        const { id, value } = await findActive(credentials, request);
        const expireTime = value.expireTime === undefined ? undefined : new Date(value.expireTime);
        const issued = await issueCredentials(value.account, expireTime);
        own = issued;
        const body: RotateBody = {
          signer: issued.signer,
          replaces: value.signer,
          statement: await authority.statement(issued, expireTime, value.statement),
          madeFor: authority.mark,
          issueTime: clock.now().toISOString(),
        };
        return { entityUid: id, body: { ...body } };
      });
      const creds = own?.signer === stored.value.signer ? own.creds : '';
      return { credential: credentials.message(stored), creds };
    },
  };
}

function revoking(parts: CredentialParts): Pick<Api, 'revokeEventCredential'> {
  const { credentials } = parts;
  return {
    revokeEventCredential: async ({ name, etag }, call) => {
      const { authority } = issuing(parts);
      for (;;) {
        const { id, eventSeq, value } = await findResource(credentials, name);
        checkEtag(etag, id, eventSeq);
        const statement = await authority.closing(value.account, value.statement);
        call.detach();
        const ended = { state: 'revoked', statement, madeFor: authority.mark } as const;
        const change: Change = (now) => {
          if (now.state !== 'active') return undefined;
          // The end comes after whatever it ends: one that was rotated meanwhile is read again.
          if (now.statement !== value.statement) throw overtaken();
          return ended;
        };
        try {
          return credentials.message(await changed(parts, id, 'revoked', change));
        } catch (error) {
          if (!(error instanceof Conflict)) throw error;
        }
      }
    },
  };
}

function rewinding(parts: CredentialParts): Pick<Api, 'rewindEventCredential'> {
  const { credentials, idempotency } = parts;
  const rewind = idempotency.method<Json, Stored<CredentialRecord>>({
    name: `${service}/RewindEventCredential`,
    carryOut: ({ entityUid, body }) => {
      const { start, generation } = body as unknown as RewindBody;
      return changed(parts, entityUid, 'rewound', (value) =>
        value.generation < generation && value.state === 'active' ? { start, generation } : undefined,
      );
    },
    answer: ({ entityUid }) => findResource(credentials, `eventCredentials/${entityUid}`),
  });
  return {
    rewindEventCredential: async (request, call) => {
      issuing(parts);
      const start = startOf(request.start, 'start');
      const stored = await rewind(call, RewindEventCredentialRequest.encode(request).finish(), async () => {
        const { id, value } = await findActive(credentials, request);
        return { entityUid: id, body: { start: { ...start }, generation: value.generation + 1 } };
      });
      return credentials.message(stored);
    },
  };
}

function issuing({ issuing }: CredentialParts): NonNullable<CredentialParts['issuing']> {
  if (issuing === undefined) throw withoutKeys();
  return issuing;
}

async function findActive(
  credentials: Credentials,
  { name, etag }: { readonly name: string; readonly etag: string },
): Promise<Stored<CredentialRecord>> {
  const stored = await findResource(credentials, name);
  checkEtag(etag, stored.id, stored.eventSeq);
  const { state } = stored.value;
  if (state === 'active') return stored;
  const description = `${name} is ${state} for good: issue another`;
  throw new Precondition('STATE_FORBIDS', description, {
    preconditions: [{ type: 'STATE_FORBIDS', subject: name, description }],
  });
}

function checkFuture(expireTime: Date | undefined, clock: Clock): void {
  if (expireTime === undefined || expireTime > clock.now()) return;
  throw fieldInvalid('credential.expire_time', 'has passed already');
}

async function checkRoom({ credentials, limit }: CredentialParts): Promise<void> {
  if ((await credentials.count({ state: 'active' })) < limit) return;
  throw new Exhausted(
    'LIMIT_REACHED',
    `${limit} credentials are in force, as many as NEPHOS_EVENTS_CREDENTIAL_LIMIT allows: revoke one`,
  );
}

function overtaken(): Conflict {
  return new Conflict(
    'REVISION_MISMATCH',
    'the credentials were rotated or ended meanwhile: read them again',
  );
}
