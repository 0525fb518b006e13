/** `nephos dead-letters`: events that a subscription gave up on: look, redrive, drop. */
import { enumText } from '@nephos/client';
import {
  DeadLetter,
  DeadLetterServiceDefinition,
  RedriveDeadLettersResponse_Outcome as Outcome,
  RedriveDeadLettersResponse,
} from '@nephos/proto/nephos/events/v1/dead_letter';
import { Invalid, Precondition } from '@nephos/service';
import type { Command } from 'commander';
import { countColumn, timeWord } from '../columns.ts';
import { positive } from '../resource.ts';
import type { Session } from '../session.ts';
import { type Column, fields, type Json, printable } from '../table.ts';

const prefix = 'deadLetters/';

const examples = `
Examples:
  nephos dead-letters list --subscription billing
  nephos dead-letters show 17-mwsyi690
  nephos dead-letters redrive 17-mwsyi690
  nephos dead-letters redrive --subscription billing --filter 'time > "2026-11-01T00:00:00Z"'
  nephos dead-letters drop --subscription billing --entity vm`;

const columns: readonly Column[] = [
  { title: 'ID', path: 'name', format: (name) => String(name).slice(prefix.length) },
  { title: 'SUBSCRIPTION', path: 'subscription' },
  { title: 'EVENT', path: 'eventId' },
  countColumn('TRIES', 'attempts'),
  countColumn('REDRIVES', 'redrives'),
  { title: 'SINCE', path: 'time', format: timeWord },
  { title: 'REASON', path: 'reason' },
];

interface Which {
  readonly subscription?: string;
  readonly entity?: string;
  readonly filter?: string;
}

export function addDeadLetters(program: Command, session: Session): void {
  const group = program
    .command('dead-letters')
    .description('dead letters: events that a subscription gave up on')
    .addHelpText('after', examples);
  withFilter(group.command('list').description('list them, oldest first'))
    .option('--limit <number>', 'at most so many', '1000')
    .action(async ({ limit, ...which }: Which & { readonly limit: string }) =>
      list(session, filterOf(which), positive('--limit', limit)),
    );
  group
    .command('show')
    .description('the whole event, why it failed, how often it was tried')
    .argument('<id>')
    .action(async (id: string) => show(session, id));
  withFilter(
    group
      .command('redrive')
      .description('give them to their own subscription again, and say what came of it'),
  )
    .argument('[id]', 'this one; else all that the options mean')
    .option('--all', 'without any option: all there are')
    .action(async (id: string | undefined, { all = false, ...which }: Which & { readonly all?: boolean }) =>
      redrive(session, id, filterOf(which), all),
    );
  withFilter(group.command('drop').description('drop them for good'))
    .argument('[id]', 'this one; else all that the options mean')
    .action(async (id: string | undefined, which: Which) => drop(session, id, filterOf(which)));
}

function withFilter(command: Command): Command {
  return command
    .option('--subscription <name>', 'only those of this subscription')
    .option('--entity <word>', 'only about this kind, e.g. vm')
    .option('--filter <text>', 'e.g. \'uid = "0192…" AND time > "2026-11-01T00:00:00Z"\'');
}

function filterOf({ subscription, entity, filter }: Which): string {
  return [
    ...(subscription === undefined ? [] : [`subscription = ${JSON.stringify(subscription)}`]),
    ...(entity === undefined ? [] : [`entity = ${JSON.stringify(entity)}`]),
    ...(filter === undefined ? [] : [filter]),
  ].join(' AND ');
}

async function list(session: Session, filter: string, limit: number): Promise<void> {
  const client = await service(session);
  const found: DeadLetter[] = [];
  let pageToken = '';
  do {
    const page = await client.listDeadLetters({
      filter,
      pageToken,
      pageSize: Math.min(500, limit - found.length),
    });
    found.push(...page.deadLetters);
    pageToken = page.nextPageToken;
  } while (pageToken !== '' && found.length < limit);
  const rows = found.map((each) => DeadLetter.toJSON(each) as Json);
  if (session.json) session.document(rows);
  else session.table(columns, rows);
  if (pageToken !== '') session.note(`There are more: --limit is ${limit}.`);
}

async function show(session: Session, id: string): Promise<void> {
  const letter = await (await service(session)).getDeadLetter({ name: named(id) });
  const { cloudEvent, ...rest } = DeadLetter.toJSON(letter) as { readonly cloudEvent?: string };
  const whole = { ...rest, cloudEvent: parsed(cloudEvent ?? '') };
  if (session.json) session.document(whole);
  else session.out(fields(whole));
}

/** What is no event is shown as it is. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

async function redrive(
  session: Session,
  id: string | undefined,
  filter: string,
  all: boolean,
): Promise<void> {
  if (id === undefined && filter === '' && !all) throw whichOnes('--all');
  const which =
    id === undefined
      ? { $case: 'filter' as const, value: filter }
      : { $case: 'name' as const, value: named(id) };
  const client = await service(session);
  const { signal } = session;
  let [told, handled] = [0, 0];
  for await (const answer of client.redriveDeadLetters({ which }, { signal })) {
    told += 1;
    if (answer.outcome === Outcome.HANDLED) handled += 1;
    session.out(
      session.json ? JSON.stringify(RedriveDeadLettersResponse.toJSON(answer)) : outcomeLine(answer),
    );
  }
  if (!session.json) session.note(`${handled} of ${told} handled`);
  if (handled < told) {
    throw new Precondition('STATE_FORBIDS', `${told - handled} of ${told} are not handled: see above`);
  }
}

function outcomeLine({ name, eventId, subscription, outcome, reason }: RedriveDeadLettersResponse): string {
  const word = enumText(Object.entries(Outcome).find(([, value]) => value === outcome)?.[0] ?? 'UNKNOWN');
  const what = [name.slice(prefix.length), subscription, eventId, word, reason];
  return printable(what.filter((part) => part !== '').join('  '));
}

async function drop(session: Session, id: string | undefined, filter: string): Promise<void> {
  const client = await service(session);
  if (id !== undefined) await client.deleteDeadLetter({ name: named(id) });
  else if (filter === '') throw whichOnes('--subscription');
  const dropped = id === undefined ? (await client.purgeDeadLetters({ filter, force: true })).purgeCount : 1;
  if (session.json) session.document({ dropped });
  else session.out(`dropped ${dropped}`);
}

function whichOnes(option: string): Invalid {
  return new Invalid(
    'FIELD_REQUIRED',
    `which ones? Name one by its id, or say --subscription, --entity, --filter or ${option}`,
  );
}

function service(session: Session) {
  return session.platform.client(DeadLetterServiceDefinition, 'events');
}

function named(id: string): string {
  return id.startsWith(prefix) ? id : prefix + id;
}
