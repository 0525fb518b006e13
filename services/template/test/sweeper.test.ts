/** The sweeper on a real store and disk: nothing of an import stays for ever, and nothing in use goes. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { openEntity } from '@nephos/events';
import { Job, JobState } from '@nephos/proto/nephos/jobs/v1/jobs';
import {
  type Clock,
  type Logger,
  NotFound,
  newHeader,
  newUid,
  offsetClock,
  systemClock,
  Unavailable,
} from '@nephos/service';
import { openStore } from '@nephos/store';
import { ContentStore } from '../src/adapters/content-store.ts';
import type { TemplateRecord } from '../src/domain/template.ts';
import { templateEntity } from '../src/records/template.ts';
import { sweepOnce } from '../src/sweeper.ts';

const hourMs = 60 * 60_000;
const log = { info() {}, warn() {} } as unknown as Logger;
let world: Awaited<ReturnType<typeof open>>;
beforeEach(async () => {
  world = await open();
});
afterEach(() => world.stack.disposeAsync());

async function open() {
  const stack = new AsyncDisposableStack();
  const folder = await mkdtemp(path.join(tmpdir(), 'nephos-sweeper-'));
  stack.defer(() => rm(folder, { recursive: true }));
  const store = stack.use(await openStore({ url: `sqlite://${folder}/t.db`, clock: systemClock }));
  const templates = await openEntity(store, templateEntity, { source: 'template', clock: systemClock });
  const content = await ContentStore.open(folder);
  const jobs = new Map<string, Job>();
  const sweep = (clock: Clock = systemClock, away = false) =>
    sweepOnce({
      templates,
      content,
      clock,
      log,
      jobs: {
        get: async (uid) => {
          if (away) throw new Unavailable('SERVICE_UNAVAILABLE', 'job control is away');
          const job = jobs.get(uid);
          if (job === undefined) throw new NotFound('RESOURCE_NOT_FOUND', `there is no jobs/${uid}`);
          return job;
        },
      },
    });
  return { stack, templates, content, jobs, sweep };
}

/** A template whose import runs, with a partial file. */
async function importing(state?: JobState): Promise<string> {
  const uid = newUid();
  const importJob = newUid();
  const named = { displayName: uid, owner: '', zone: '', labels: {}, annotations: {} };
  const record: TemplateRecord = {
    header: newHeader(uid, named, systemClock),
    state: 'importing',
    architecture: 'x86_64',
    origin: 'test',
    importJob,
  };
  await world.templates.insert(uid, record);
  await writeFile(world.content.partialPath(uid), 'half');
  if (state !== undefined) world.jobs.set(importJob, Job.fromPartial({ state }));
  return uid;
}

const stateOf = async (uid: string) => (await world.templates.get(uid))?.value.state;

test('a template whose import was cancelled before it began is not importing for ever', async () => {
  const [cancelled, running] = [await importing(JobState.CANCELLED), await importing(JobState.RUNNING)];
  await world.sweep();
  expect(await stateOf(cancelled)).toBe('failed');
  expect(await stateOf(running)).toBe('importing');
  expect(await world.content.partials()).toEqual([running]);
  await world.sweep(offsetClock(systemClock, 2 * hourMs));
  expect(await world.templates.get(cancelled)).toBeUndefined();
});

test('a template whose job was never submitted is given up in the end, not at once', async () => {
  const uid = await importing();
  await world.sweep();
  expect(await stateOf(uid)).toBe('importing');
  await world.sweep(offsetClock(systemClock, 2 * hourMs));
  expect(await stateOf(uid)).not.toBe('importing');
});

test('while job control is away nothing is given up', async () => {
  const uid = await importing(JobState.FAILED);
  await world.sweep(offsetClock(systemClock, 2 * hourMs), true);
  expect(await stateOf(uid)).toBe('importing');
});

test('an image that was kept by an import undone afterwards goes once no import runs', async () => {
  const sha256 = 'ab'.repeat(32);
  const uid = await importing(JobState.RUNNING);
  await world.content.keep(uid, sha256);
  await world.sweep();
  expect(await world.content.images()).toEqual([sha256]);
  await world.templates.modify(uid, (template) => ({ ...template, state: 'failed' }));
  await world.sweep();
  expect(await world.content.images()).toEqual([]);
});
