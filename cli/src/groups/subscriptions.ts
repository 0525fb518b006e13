/** `nephos subscriptions`: who reads the events, how far behind, and who has stopped. */
import { durationText } from '@nephos/client';
import { CredentialServiceDefinition } from '@nephos/proto/nephos/events/v1/credential';
import { Subscription, SubscriptionServiceDefinition } from '@nephos/proto/nephos/events/v1/subscription';
import type { Command } from 'commander';
import { countColumn, enumColumn, timeWord } from '../columns.ts';
import type { Session } from '../session.ts';
import { type Column, fields, type Json } from '../table.ts';

const prefix = 'subscriptions/';

const examples = `
Examples:
  nephos subscriptions list
  nephos subscriptions show billing
  nephos subscriptions delete jobs.old-dashboard`;

const columns: readonly Column[] = [
  { title: 'NAME', path: 'name', format: (name) => String(name).slice(prefix.length) },
  { title: 'CREDENTIAL', path: 'credential' },
  enumColumn('ACTIVITY', 'activity'),
  countColumn('LAG', 'lag'),
  countColumn('UNACKED', 'unacknowledged'),
  { title: 'OLDEST', path: 'oldestUnhandledAge', format: ageWord },
  countColumn('REDELIVERED', 'redelivered'),
  countColumn('DEAD', 'deadLetters'),
  { title: 'LAST ACTIVE', path: 'lastActiveTime', format: timeWord },
  { title: 'EVENTS', path: 'selection.subjects', format: (subjects) => (subjects as string[]).join(' ') },
];

export function addSubscriptions(program: Command, session: Session): void {
  const group = program
    .command('subscriptions')
    .description('subscriptions: who reads the events, and how far behind')
    .addHelpText('after', examples);
  group
    .command('list')
    .description('every durable subscription')
    .action(async () => list(session));
  group
    .command('show')
    .description('everything about one')
    .argument('<subscription>', 'its name; jobs.<name> for one on the events of jobs')
    .action(async (reference: string) => {
      const json = Subscription.toJSON(
        await (await service(session)).getSubscription({ name: named(reference) }),
      );
      if (session.json) session.document(json);
      else session.out(fields(json));
    });
  group
    .command('delete')
    .description('have the broker forget one and its position; its dead letters stay')
    .argument('<subscription>')
    .option('--force', 'also while somebody reads: a reader that lives makes it anew')
    .action(async (reference: string, { force = false }: { readonly force?: boolean }) => {
      const name = named(reference);
      await (await service(session)).deleteSubscription({ name, force });
      if (session.json) session.document({ name });
      else session.out(`deleted ${name}`);
    });
}

async function list(session: Session): Promise<void> {
  const client = await service(session);
  const found: Subscription[] = [];
  let pageToken = '';
  do {
    const page = await client.listSubscriptions({ pageSize: 500, pageToken });
    found.push(...page.subscriptions);
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  const rows = found.map((each) => Subscription.toJSON(each) as Json);
  if (session.json) return session.document(rows);
  const owners = await credentialsByAccount(session);
  const owned = (name: unknown): string | undefined => owners.get(String(name).slice(prefix.length));
  session.table(
    columns,
    rows.map((row) => ({ ...row, credential: owned(row['name']) })),
  );
}

/** A third party's subscription is named by its account, which tells nobody who it is. */
async function credentialsByAccount({ platform }: Session): Promise<ReadonlyMap<string, string>> {
  const client = await platform.client(CredentialServiceDefinition, 'events');
  const names = new Map<string, string>();
  let pageToken = '';
  do {
    const page = await client.listEventCredentials({ pageSize: 500, pageToken });
    for (const { account, header } of page.credentials) names.set(account, header?.displayName ?? '');
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  return names;
}

function service(session: Session) {
  return session.platform.client(SubscriptionServiceDefinition, 'events');
}

function named(reference: string): string {
  return reference.startsWith(prefix) ? reference : prefix + reference;
}

function ageWord(value: unknown): string {
  const { seconds = '0', nanos = 0 } = (value ?? {}) as {
    readonly seconds?: string;
    readonly nanos?: number;
  };
  return value === undefined ? '-' : durationText(Number(seconds) * 1000 + nanos / 1e6);
}
