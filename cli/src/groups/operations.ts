/** `nephos operations`: long work as google.longrunning sees it; the job behind each has the same uid. */
import { finishedOperation } from '@nephos/client';
import { Operation, OperationsDefinition } from '@nephos/proto/google/longrunning/operations';
import { Job } from '@nephos/proto/nephos/jobs/v1/jobs';
import type { Command } from 'commander';
import { Progress } from '../progress.ts';
import { findName, meanings, positive } from '../resource.ts';
import type { Session } from '../session.ts';
import { jobKind } from './jobs.ts';

const columns = [
  { title: 'OPERATION', path: 'name' },
  { title: 'DONE', path: 'done', format: (value: unknown) => (value === true ? 'yes' : 'no') },
  { title: 'TYPE', path: 'type' },
  { title: 'TARGET', path: 'target' },
  { title: 'ERROR', path: 'error' },
];

const examples = `
Examples:
  nephos operations list
  nephos operations wait operations/0192f4c3-…`;

export function addOperations(program: Command, session: Session): void {
  const group = program
    .command('operations')
    .description('operations: what long calls return')
    .addHelpText('after', examples);
  group
    .command('list')
    .description('list operations, newest first')
    .option('--filter <text>', 'as for jobs', '')
    .option('--limit <number>', 'at most so many', '100')
    .action(async ({ filter, limit }: { readonly filter: string; readonly limit: string }) => {
      const operations = await allOperations(session, filter, positive('--limit', limit));
      if (session.json) session.document(operations.map((operation) => Operation.toJSON(operation)));
      else session.table(columns, operations.map(rowOf));
    });
  group
    .command('wait')
    .description('wait until one is over; fails when it failed')
    .argument('<operation>', meanings(jobKind))
    .action(async (reference: string) => {
      const behind = await findName(session, jobKind, reference.replace(/^operations\/…?/, ''));
      const name = behind.replace(/^jobs/, 'operations');
      const progress = new Progress(session.world.stderr);
      const options = { signal: session.signal, onChange: progress.show };
      const job = await finishedOperation(session.platform, { name }, options).finally(() => progress.end());
      if (session.json) session.document(Job.toJSON(job));
      else session.out(`${name} done: ${job.type} on ${job.target}`);
    });
}

async function allOperations(session: Session, filter: string, limit: number): Promise<Operation[]> {
  const client = await session.platform.client(OperationsDefinition, 'job-control');
  const found: Operation[] = [];
  let pageToken = '';
  do {
    const pageSize = Math.min(500, limit - found.length);
    const page = await client.listOperations({ filter, pageSize, pageToken });
    found.push(...page.operations);
    pageToken = page.nextPageToken;
  } while (pageToken !== '' && found.length < limit);
  return found;
}

function rowOf({ name, done, metadata, result }: Operation): Readonly<Record<string, unknown>> {
  const job = metadata === undefined ? undefined : Job.decode(metadata.value);
  const error = result?.$case === 'error' ? result.value.message : '';
  return { name, done, type: job?.type, target: job?.target, error };
}
