/** `nephos jobs`: see and steer what the platform does. */
import { durationText, enumText, finishedJob, isOver } from '@nephos/client';
import {
  Job,
  JobLogLine,
  JobServiceDefinition,
  JobState,
  type JobStep,
  JobStepState,
} from '@nephos/proto/nephos/jobs/v1/jobs';
import { type Client, fromStatusMessage } from '@nephos/service';
import type { Command } from 'commander';
import { createdColumn, enumColumn, uidColumn } from '../columns.ts';
import { Progress } from '../progress.ts';
import { addReading, findName, listAll, printOne, type ResourceKind } from '../resource.ts';
import type { Session } from '../session.ts';
import { type Json, printable } from '../table.ts';

export const jobKind: ResourceKind<Job> = {
  word: 'job',
  collection: 'jobs',
  nameless: true,
  columns: [
    { title: 'TYPE', path: 'type' },
    enumColumn('STATE', 'state'),
    { title: 'DONE', path: 'progress.percent', format: percentWord },
    { title: 'TARGET', path: 'target' },
    { title: 'BY', path: 'principal' },
    createdColumn,
    uidColumn,
  ],
  async list(platform, { filter, pageSize, pageToken }) {
    const page = await (await platform.client(JobServiceDefinition, 'job-control')).listJobs({
      filter,
      pageSize,
      pageToken,
    });
    return { items: page.jobs, nextPageToken: page.nextPageToken };
  },
  get: async (platform, name) =>
    (await platform.client(JobServiceDefinition, 'job-control')).getJob({ name }),
  toJson: (job) => Job.toJSON(job),
};

const examples = `
Examples:
  nephos jobs list --filter 'type = "vm.create" AND state = "RUNNING"'
  nephos jobs tree 0192f4c3-…
  nephos jobs watch 0192f4c3-…
  nephos jobs cancel 0192f4c3-…`;

/** A job that succeeded is whole, whatever it said last. */
function percentWord(value: unknown, job: Json): string {
  return `${job['state'] === 'JOB_STATE_SUCCEEDED' ? 100 : Number(value ?? 0)} %`;
}

type Jobs = Client<typeof JobServiceDefinition>;

export function addJobs(program: Command, session: Session): void {
  const group = program
    .command('jobs')
    .description('jobs: what the platform does, step by step')
    .addHelpText('after', examples);
  addReading(group, session, jobKind);
  addTree(group, session);
  addLogs(group, session);
  addWatch(group, session);
  addSteering(group, session, 'cancel', 'ask it to stop and undo what it did', (jobs, name) =>
    jobs.cancelJob({ name }),
  );
  addSteering(group, session, 'resume', 'let a blocked one go on', (jobs, name) => jobs.resumeJob({ name }));
  addSteering(group, session, 'unwind', 'let a blocked one undo what it did', (jobs, name, skipSteps) =>
    jobs.unwindJob({ name, skipSteps }),
  ).option('--skip <step...>', 'steps whose undo is given up, since a person has cleaned up');
}

function addSteering(
  group: Command,
  session: Session,
  verb: string,
  description: string,
  run: (jobs: Jobs, name: string, skip: readonly string[]) => Promise<Job>,
): Command {
  return group
    .command(verb)
    .description(description)
    .argument('<job>')
    .action(async (reference: string, { skip = [] }: { readonly skip?: readonly string[] }) => {
      const name = await findName(session, jobKind, reference);
      const jobs = await session.platform.client(JobServiceDefinition, 'job-control');
      printOne(session, jobKind, await run(jobs, name, skip));
    });
}

function addTree(group: Command, session: Session): void {
  group
    .command('tree')
    .description('a job with its steps and the jobs that it started')
    .argument('<job>')
    .action(async (reference: string) => {
      const name = await findName(session, jobKind, reference);
      const top = await jobKind.get(session.platform, name);
      const { items } = await listAll(session, jobKind, {
        filter: `root = ${JSON.stringify(top.root || name)}`,
      });
      if (session.json) return session.document(items.map((job) => Job.toJSON(job)));
      session.out(treeLines(top, items).join('\n'));
    });
}

/** The job, its steps, then its children, each further in. */
function treeLines(job: Job, all: readonly Job[], indent = ''): string[] {
  const { header, type, state, startTime, endTime, error } = job;
  const took = spanText(startTime, endTime);
  const failure = error === undefined ? '' : `  ${printable(error.message)}`;
  const own = `${indent}${type} ${stateWord(state)}${took}  ${header?.name ?? ''}${failure}`;
  const steps = job.steps.map((step) => `${indent}  ${stepLine(step)}`);
  const children = all.filter(({ parent }) => parent !== '' && parent === header?.name);
  return [own, ...steps, ...children.flatMap((child) => treeLines(child, all, `${indent}    `))];
}

function stepLine({ name, state, startTime, endTime, error }: JobStep): string {
  const failure = error === undefined ? '' : `  ${printable(error.message)}`;
  const word = keyOf(JobStepState, state).toLowerCase();
  return `- ${name.padEnd(18)} ${word}${spanText(startTime, endTime)}${failure}`;
}

function spanText(from: Date | undefined, to: Date | undefined): string {
  return from && to ? ` in ${durationText(to.getTime() - from.getTime())}` : '';
}

function keyOf(values: Readonly<Record<string, number>>, wanted: number): string {
  return Object.keys(values).find((key) => values[key] === wanted) ?? String(wanted);
}

function stateWord(state: JobState): string {
  return enumText(keyOf(JobState, state));
}

function addLogs(group: Command, session: Session): void {
  group
    .command('logs')
    .description("the job's own log")
    .argument('<job>')
    .option('--follow', 'go on until the job is over, or Ctrl-C')
    .action(async (reference: string, { follow = false }: { readonly follow?: boolean }) => {
      const parent = await findName(session, jobKind, reference);
      const jobs = await session.platform.client(JobServiceDefinition, 'job-control');
      const lines = follow
        ? jobs.watchJobLog({ parent }, { signal: session.signal })
        : allLines(jobs, parent);
      const kept: unknown[] = [];
      try {
        for await (const line of lines) {
          if (session.json && !follow) kept.push(JobLogLine.toJSON(line));
          else session.out(session.json ? JSON.stringify(JobLogLine.toJSON(line)) : logText(line));
        }
      } catch (error) {
        if (!session.signal.aborted) throw error;
      }
      if (session.json && !follow) session.document(kept);
    });
}

async function* allLines(jobs: Jobs, parent: string): AsyncIterable<JobLogLine> {
  let pageToken = '';
  do {
    const page = await jobs.listJobLogLines({ parent, pageToken, pageSize: 500 });
    yield* page.jobLogLines;
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
}

function logText({ time, step, text }: JobLogLine): string {
  return `${time?.toISOString() ?? ''}  ${(step || '-').padEnd(16)} ${printable(text)}`;
}

function addWatch(group: Command, session: Session): void {
  group
    .command('watch')
    .description('follow a job until it is over; fails when the job does')
    .argument('<job>')
    .action(async (reference: string) => {
      const name = await findName(session, jobKind, reference);
      const progress = new Progress(session.world.stderr);
      const onChange = session.json
        ? (job: Job) => session.out(JSON.stringify(Job.toJSON(job)))
        : progress.show;
      const job = await finishedJob(session.platform, name, { onChange, signal: session.signal });
      progress.end();
      if (!session.json)
        session.out(`${job.type} ${stateWord(job.state)}${spanText(job.startTime, job.endTime)}`);
      if (isOver(job) && job.error !== undefined && job.state !== JobState.SUCCEEDED)
        throw fromStatusMessage(job.error);
    });
}
