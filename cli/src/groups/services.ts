/** `nephos services`: what runs, how it is, and who calls whom, as the directory knows it. */
import { enumText } from '@nephos/client';
import { healthToJSON, Instance } from '@nephos/proto/nephos/directory/v1/instance';
import { NotFound } from '@nephos/service';
import type { Command } from 'commander';
import { timeWord, uidColumn } from '../columns.ts';
import type { Session } from '../session.ts';
import { type Column, fields, type Json, printable } from '../table.ts';

const columns: readonly Column[] = [
  { title: 'SERVICE', path: 'service' },
  { title: 'VERSION', path: 'version' },
  { title: 'HEALTH', path: 'health', format: healthWord },
  { title: 'LOAD', path: 'load', format: loadWord },
  { title: 'ZONE', path: 'header.zone' },
  { title: 'ADDRESS', path: 'address' },
  { title: 'PROCESS', path: 'process', format: processWord },
  uidColumn,
];
const wideColumns: readonly Column[] = [
  ...columns,
  { title: 'SINCE', path: 'process.startTime', format: timeWord },
  { title: 'LABELS', path: 'header.labels', format: labelsWord },
  { title: 'GRPC SERVICES', path: 'grpcServices', format: namesWord },
];
const callColumns: readonly Column[] = [
  { title: 'CALLER', path: 'caller' },
  { title: 'CALLS', path: 'callee' },
  { title: 'TIMES', path: 'calls' },
  { title: 'FAILED', path: 'failures' },
  { title: 'SINCE', path: 'since', format: timeWord },
];

const examples = `
Examples:
  nephos services
  nephos services host-agent --json
  nephos services --wide
  nephos services show 6a8f3e11c4d2
  nephos services calls
  nephos services watch orchestrator`;

export function addServices(program: Command, session: Session): void {
  const group = program
    .command('services')
    .description('services: who runs where, how they are, and who calls whom')
    .argument('[service]', 'only this one, e.g. orchestrator')
    .option('--wide', 'also since when, labels, and the gRPC services that each serves')
    .addHelpText('after', examples)
    .action(async (service: string | undefined, { wide = false }: { readonly wide?: boolean }) =>
      list(session, service === 'list' ? undefined : service, wide),
    );
  group
    .command('show')
    .description('everything about one instance, or about all of a service')
    .argument('<instance>', 'its name, its uid, the beginning or end of that, or a service')
    .action(async (reference: string) => {
      const found = (await instances(session)).filter((each) => isMeant(each, reference));
      if (found.length === 0)
        throw new NotFound(
          'RESOURCE_NOT_FOUND',
          `the directory knows no instance "${reference}"; "nephos services" shows all`,
        );
      if (session.json) session.document(found.length === 1 ? found[0] : found);
      else session.out(found.map((each) => fields(each)).join('\n\n'));
    });
  group
    .command('calls')
    .description('who calls whom, how often, and how often that failed')
    .action(async () => {
      const rows = callsOf(await session.platform.instances());
      if (session.json) session.document(rows);
      else session.table(callColumns, rows);
    });
  group
    .command('watch')
    .description('tell of instances that come, change and go, until Ctrl-C')
    .argument('[service]', 'only this one')
    .action((service: string | undefined) => watch(session, service ?? ''));
}

/** `list`, the word that other groups have for it, means all as well. */
async function list(session: Session, service: string | undefined, wide: boolean): Promise<void> {
  const rows = await instances(session, service);
  if (session.json) session.document(rows);
  else session.table(wide ? wideColumns : columns, rows);
  if (rows.length === 0) session.note(`The directory knows no instance of ${service ?? 'any service'}.`);
}

async function instances(session: Session, service?: string): Promise<Json[]> {
  const rows = (await session.platform.instances(service)).map((each) => Instance.toJSON(each) as Json);
  return rows.toSorted((a, b) => String(a['service']).localeCompare(String(b['service'])));
}

function isMeant(instance: Json, reference: string): boolean {
  const { name = '', uid = '' } = (instance['header'] ?? {}) as {
    readonly name?: string;
    readonly uid?: string;
  };
  if (instance['service'] === reference || name === reference || uid === reference) return true;
  return /^[0-9a-f-]{6,}$/.test(reference) && (uid.startsWith(reference) || uid.endsWith(reference));
}

/** A row for each service and each that it calls, over all instances. */
export function callsOf(all: readonly Instance[]): Json[] {
  const rows = new Map<
    string,
    { caller: string; callee: string; calls: number; failures: number; since: string }
  >();
  for (const { service: caller, callees } of all) {
    for (const { service: callee, calls, failures, since } of callees) {
      const key = `${caller} ${callee}`;
      const began = since?.toISOString() ?? '';
      const row = rows.get(key) ?? { caller, callee, calls: 0, failures: 0, since: began };
      row.calls += Number(calls);
      row.failures += Number(failures);
      if (began < row.since) row.since = began;
      rows.set(key, row);
    }
  }
  return [...rows.values()].toSorted(
    (a, b) => a.caller.localeCompare(b.caller) || a.callee.localeCompare(b.callee),
  );
}

type Verb = 'there' | 'came' | 'changed' | 'went';

async function watch(session: Session, service: string): Promise<void> {
  const { directory } = session.platform;
  const known = new Map<string, Instance>();
  const tell = (verb: Verb, instance: Instance): void => {
    if (session.json) session.out(JSON.stringify({ verb, instance: Instance.toJSON(instance) }));
    else session.out(`${verb.padEnd(7)} ${line(instance)}`);
  };
  const take = (verb: Verb, items: readonly Instance[]): void => {
    for (const instance of items) {
      known.set(instance.header?.name ?? '', instance);
      tell(verb, instance);
    }
  };
  const request = { selector: { service }, includeUnavailable: true, changes: true };
  for await (const { update } of directory.watchInstances(request, { signal: session.signal })) {
    if (update?.$case === 'list') take('there', update.value.instances);
    if (update?.$case === 'drain') session.note('The directory is stopping.');
    if (update?.$case !== 'changes') continue;
    take('came', update.value.added);
    take('changed', update.value.changed);
    for (const name of update.value.removed) {
      const gone = known.get(name);
      known.delete(name);
      if (gone !== undefined) tell('went', gone);
    }
  }
}

function line({ service, version, health, silent, address, header }: Instance): string {
  const word = silent ? 'SILENT' : enumText(healthToJSON(health));
  const zone = header?.zone ? ` in ${header.zone}` : '';
  return printable(`${service} ${version} ${word} at ${address}${zone} (${header?.uid ?? ''})`);
}

function healthWord(value: unknown, row: Json): string {
  if (row['silent'] === true) return 'SILENT';
  return typeof value === 'string' ? enumText(value) : '-';
}

function loadWord(value: unknown): string {
  return `${Math.round(Number(value ?? 0) * 100)} %`;
}

function namesWord(value: unknown): string {
  return Array.isArray(value) && value.length > 0 ? value.join(',') : '-';
}

function processWord(value: unknown): string {
  const { pid, host } = (value ?? {}) as { readonly pid?: number; readonly host?: string };
  return pid === undefined ? '-' : `${pid} on ${host ?? '?'}`;
}

function labelsWord(value: unknown): string {
  const pairs = Object.entries((value ?? {}) as Readonly<Record<string, string>>);
  return pairs.length === 0 ? '-' : pairs.map(([key, text]) => `${key}=${text}`).join(',');
}
