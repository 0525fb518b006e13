/** `nephos credentials`: what third parties read events with, from NATS. A secret goes to a file or stdout, once. */
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import {
  CredentialServiceDefinition,
  EventCredential,
  type EventStart,
} from '@nephos/proto/nephos/events/v1/credential';
import { Invalid } from '@nephos/service';
import type { Command } from 'commander';
import { createdColumn, enumColumn, nameColumn, timeWord, uidColumn } from '../columns.ts';
import { addReading, collectLabel, findName, printOne, type ResourceKind } from '../resource.ts';
import type { Session } from '../session.ts';
import { zoneKind } from './zones.ts';

const service = 'events';

const credentialKind: ResourceKind<EventCredential> = {
  word: 'credential',
  collection: 'eventCredentials',
  group: 'credentials',
  columns: [
    nameColumn,
    enumColumn('STATE', 'state'),
    { title: 'SLICE', path: 'slice', format: sliceWord },
    {
      title: 'EXPIRES',
      path: 'expireTime',
      format: (value) => (value === undefined ? 'never' : timeWord(value)),
    },
    { title: 'AT THE BROKER', path: 'settled', format: (value) => (value === true ? 'yes' : 'not yet') },
    createdColumn,
    uidColumn,
  ],
  async list(platform, { filter, pageSize, pageToken }) {
    const credentials = await platform.client(CredentialServiceDefinition, service);
    const page = await credentials.listEventCredentials({ filter, pageSize, pageToken });
    return { items: page.credentials, nextPageToken: page.nextPageToken };
  },
  get: async (platform, name) =>
    (await platform.client(CredentialServiceDefinition, service)).getEventCredential({ name }),
  toJson: (credential) => EventCredential.toJSON(credential),
};

function sliceWord(slice: unknown): string {
  const { everything, ...words } = slice as Record<string, unknown>;
  if (everything === true) return 'everything';
  return Object.entries(words)
    .map(([key, value]) => `${key}=${value === '' ? '(none)' : String(value)}`)
    .join(' ');
}

const examples = `
Examples:
  nephos credentials issue billing --owner acme --out billing.creds
  nephos credentials issue cmdb --entity vm --zone east --expires 2027-01-01T00:00:00Z --out cmdb.creds
  nephos credentials rotate billing --out billing.creds    a new secret; the former ends at once
  nephos credentials rewind billing --from all             everything that is kept, again
  nephos credentials revoke billing                        cut off at once, for good

What an outsider does with them: docs/third-parties.md`;

interface IssueOptions {
  readonly owner?: string;
  readonly zone?: string;
  readonly entity?: string;
  readonly everything?: boolean;
  readonly expires?: string;
  readonly from: string;
  readonly out?: string;
  readonly recordOwner: string;
  readonly label?: Record<string, string>;
}

interface OutOption {
  readonly out?: string;
}

export function addCredentials(program: Command, session: Session): void {
  const group = program
    .command('credentials')
    .description("credentials: third parties' ways to events, each to a slice of them")
    .addHelpText('after', examples);
  addReading(group, session, credentialKind);
  group
    .command('issue')
    .description('let a third party read a slice of the events, and nothing else')
    .argument('<name>', 'its display name')
    .option('--owner <owner>', 'only events of this owner')
    .option('--zone <zone>', 'only in this zone')
    .option('--entity <word>', 'only of this kind, e.g. vm, volume, host')
    .option('--everything', 'all events of all owners: must be said where none of those is')
    .option('--expires <time>', 'when it ends by itself (RFC 3339)')
    .option('--from <where>', 'where it begins: all, now or a time (RFC 3339)', 'all')
    .option('--record-owner <owner>', 'whom the record of it belongs to', '')
    .option('--label <key=value>', 'a label, as often as wanted', collectLabel)
    .option('--out <file>', 'write the secret to this file, readable by its owner alone (default: stdout)')
    .action(async (name: string, options: IssueOptions) => issue(session, name, options));
  group
    .command('rotate')
    .description('a new secret in place of the former, which ends at once; positions stay')
    .argument('<credential>')
    .option('--out <file>', 'write the secret to this file, readable by its owner alone (default: stdout)')
    .action(async (reference: string, { out }: OutOption) => {
      const name = await findName(session, credentialKind, reference);
      await handOut(session, out, async () => (await client(session)).rotateEventCredential({ name }));
    });
  group
    .command('rewind')
    .description('a fresh snapshot, and the events from a place on')
    .argument('<credential>')
    .option('--from <where>', 'all, now or a time (RFC 3339)', 'all')
    .action(async (reference: string, { from }: { readonly from: string }) => {
      const name = await findName(session, credentialKind, reference);
      const start = startOf(from);
      printOne(session, credentialKind, await (await client(session)).rewindEventCredential({ name, start }));
    });
  group
    .command('revoke')
    .description('cut it off at once, for good')
    .argument('<credential>')
    .action(async (reference: string) => {
      const name = await findName(session, credentialKind, reference);
      const revoked = await (await client(session)).revokeEventCredential({ name });
      if (session.json) return session.document(credentialKind.toJson(revoked));
      session.out(`revoked ${name}`);
      if (!revoked.settled) session.note('The broker is away: it happens as soon as it is back.');
    });
}

async function client({ platform }: Session) {
  return await platform.client(CredentialServiceDefinition, service);
}

async function issue(session: Session, displayName: string, options: IssueOptions): Promise<void> {
  const { owner, entity, everything = false, expires, from, out, recordOwner, label = {} } = options;
  const zone = options.zone === undefined ? undefined : await findName(session, zoneKind, options.zone);
  await handOut(session, out, async () =>
    (await client(session)).createEventCredential({
      credential: {
        header: { displayName, owner: recordOwner, labels: label },
        slice: { owner, zone, entity, everything },
        expireTime: expires === undefined ? undefined : timeOf('--expires', expires),
        start: startOf(from),
      },
    }),
  );
}

interface HandedOut {
  readonly credential?: EventCredential | undefined;
  readonly creds: string;
}

/** The file is made before anything is issued: a secret that could be written nowhere would be lost. */
async function handOut(
  session: Session,
  out: string | undefined,
  make: () => Promise<HandedOut>,
): Promise<void> {
  const file = out === undefined ? undefined : path.resolve(session.world.cwd, out);
  const fresh = file === undefined ? undefined : `${file}.new`;
  const target = fresh === undefined ? undefined : await openFresh(fresh);
  try {
    const { credential, creds } = await make();
    if (credential === undefined || creds === '') {
      throw new Invalid('FIELD_INVALID', 'the secret was handed out before: nephos credentials rotate');
    }
    if (target === undefined || fresh === undefined || file === undefined) {
      if (session.json) session.document({ credential: EventCredential.toJSON(credential), creds });
      else session.out(creds.trimEnd());
      return;
    }
    await target.writeFile(creds);
    await target.sync();
    await rename(fresh, file);
    printOne(session, credentialKind, credential);
    session.note(`The secret is in ${file}, and nowhere else.`);
  } finally {
    await target?.close();
    if (fresh !== undefined) await rm(fresh, { force: true });
  }
}

async function openFresh(file: string): Promise<FileHandle> {
  try {
    return await open(file, 'wx', 0o600);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') {
      throw new Invalid(
        'FIELD_INVALID',
        `${file} is there: another run writes it, or one was killed; then remove it`,
        { cause: error },
      );
    }
    throw new Invalid('FIELD_INVALID', `--out cannot be written, nothing was issued: ${message}`, {
      cause: error,
    });
  }
}

function startOf(text: string): { from: EventStart['from'] } {
  if (text === 'all' || text === 'now') return { from: { $case: text, value: true } };
  return { from: { $case: 'time', value: timeOf('--from', text) } };
}

function timeOf(option: string, text: string): Date {
  const time = new Date(text);
  if (!Number.isNaN(time.getTime())) return time;
  throw new Invalid('FIELD_INVALID', `${option} is a time such as 2027-01-01T00:00:00Z, not "${text}"`);
}
