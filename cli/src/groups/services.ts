/** `nephos services`: what runs, as the directory knows it. */
import { Instance } from '@nephos/proto/nephos/directory/v1/instance';
import type { Command } from 'commander';
import { enumColumn, timeWord, uidColumn } from '../columns.ts';
import type { Session } from '../session.ts';
import { type Column, type Json, table } from '../table.ts';

const columns: readonly Column[] = [
  { title: 'SERVICE', path: 'service' },
  { title: 'VERSION', path: 'version' },
  enumColumn('HEALTH', 'health'),
  { title: 'ADDRESS', path: 'address' },
  { title: 'PROCESS', path: 'process', format: processWord },
  { title: 'SINCE', path: 'process.startTime', format: timeWord },
  { title: 'LABELS', path: 'header.labels', format: labelsWord },
  uidColumn,
];

export function addServices(program: Command, session: Session): void {
  program
    .command('services')
    .description('services: who runs where, and how they are')
    .argument('[service]', 'only this one, e.g. orchestrator')
    .addHelpText('after', '\nExamples:\n  nephos services\n  nephos services host-agent --json')
    .action(async (service: string | undefined) => {
      const rows = (await session.platform.instances(service)).map((each) => Instance.toJSON(each) as Json);
      const byName = rows.toSorted((a, b) => String(a['service']).localeCompare(String(b['service'])));
      if (session.json) session.document(byName);
      else session.out(table(columns, byName));
    });
}

function processWord(value: unknown): string {
  const { pid, host } = (value ?? {}) as { readonly pid?: number; readonly host?: string };
  return pid === undefined ? '-' : `${pid} on ${host ?? '?'}`;
}

function labelsWord(value: unknown): string {
  const pairs = Object.entries((value ?? {}) as Readonly<Record<string, string>>);
  return pairs.length === 0 ? '-' : pairs.map(([key, text]) => `${key}=${text}`).join(',');
}
