/** What an executor makes of orders by an owner of jobs that has a successor: spoken to frame by frame. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import {
  type ExecutorOrder,
  type ExecutorReport,
  ExecutorServiceDefinition,
  JobAssignment,
} from '@nephos/proto/nephos/jobs/v1/executor';
import { defineService, formatAddress, newUid, type RunningService, startService } from '@nephos/service';
import { defineJob, startExecutor } from '../src/index.ts';
import { Frames } from '../src/protocol.ts';

type Order = NonNullable<ExecutorOrder['order']>;

/** An instance of job control that says what the test tells it to. */
class Scripted {
  readonly orders = new Frames<ExecutorOrder>();
  readonly reports: NonNullable<ExecutorReport['report']>[] = [];
  running: RunningService | undefined;

  async start(partitions: { partition: number; epoch: bigint }[]): Promise<string> {
    this.order({ $case: 'welcome', value: { instance: newUid(), heartbeatInterval: 60_000n, partitions } });
    const definition = defineService({
      name: 'job-control',
      version: '0.1.0',
      config: {},
      start: (ctx) => {
        ctx.server.add(ExecutorServiceDefinition, { connect: (requests) => this.#connect(requests) });
        return Promise.resolve();
      },
    });
    const env = { NEPHOS_LOG_LEVEL: 'silent', NEPHOS_DRAIN_DELAY: '0s', NEPHOS_DATA: folder };
    this.running = await startService(definition, { env });
    return formatAddress(this.running.address);
  }

  order(order: Order): void {
    this.orders.push({ order });
  }

  assign(uid: string, partition: number, epoch: bigint): void {
    const value = { uid, type: 'some.thing', definitionVersion: 1, input: '{}', attempt: 1, root: uid };
    const assignment = JobAssignment.fromPartial({ ...value, epoch, token: 1n, partition });
    this.order({ $case: 'assign', value: assignment });
  }

  /** The uids announced, with their epochs. */
  get announced(): string[] {
    return this.reports.flatMap((report) =>
      report.$case === 'announcement' ? report.value.jobs.map(({ uid, epoch }) => `${uid}@${epoch}`) : [],
    );
  }

  async *#connect(requests: AsyncIterable<{ reports: ExecutorReport[] }>) {
    void this.#read(requests);
    for await (const orders of this.orders) yield { orders: [...orders] };
  }

  async #read(requests: AsyncIterable<{ reports: ExecutorReport[] }>): Promise<void> {
    try {
      for await (const { reports } of requests)
        for (const { report } of reports) if (report !== undefined) this.reports.push(report);
    } catch {
      // The test is over.
    }
  }
}

let folder: string;
let former: Scripted;
let present: Scripted;
let worker: RunningService;
const begun: string[] = [];
const stopped: string[] = [];

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let tries = 0; tries < 4000; tries += 1) {
    if (holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`never came about: ${what}`);
}

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'nephos-terms-'));
  begun.length = 0;
  stopped.length = 0;
  former = new Scripted();
  present = new Scripted();
  const jobControl = [
    await former.start([{ partition: 1, epoch: 1n }]),
    await present.start([{ partition: 2, epoch: 1n }]),
  ];
  const held = defineJob({
    type: 'some.thing',
    version: 1,
    timeoutMs: 60_000,
    run: async (job) => {
      begun.push(job.uid);
      await new Promise((resolve) => job.signal.addEventListener('abort', resolve, { once: true }));
      stopped.push(job.uid);
    },
  });
  let connected = (): number => 0;
  const definition = defineService({
    name: 'worker',
    version: '0.1.0',
    config: {},
    start: (ctx) => {
      const executor = startExecutor(ctx, { jobs: [held], deps: undefined, jobControl });
      connected = () => executor.connected;
      return Promise.resolve();
    },
  });
  const env = { NEPHOS_LOG_LEVEL: 'silent', NEPHOS_DRAIN_DELAY: '0s', NEPHOS_DRAIN_GRACE: '200ms' };
  worker = await startService(definition, { env: { ...env, NEPHOS_DATA: folder } });
  await until('it is connected to both', () => connected() === 2);
});

afterEach(async () => {
  former.orders.end();
  present.orders.end();
  await worker.stop();
  await former.running?.stop();
  await present.running?.stop();
  await rm(folder, { recursive: true });
});

test('a job goes over to the new owner, and nothing that the former one says of it counts', async () => {
  const uid = newUid();
  former.assign(uid, 1, 1n);
  await until('it runs', () => begun.includes(uid));
  present.order({ $case: 'announcementWanted', value: { partitions: [{ partition: 1, epoch: 2n }] } });
  await until('it is announced', () => present.announced.includes(`${uid}@1`));
  present.order({ $case: 'adopt', value: { uid, epoch: 2n, token: 7n } });
  // What follows on the same stream comes after the adoption.
  const marker = newUid();
  present.assign(marker, 2, 1n);
  await until('the adoption arrived', () => begun.includes(marker));
  former.order({ $case: 'adopt', value: { uid, epoch: 1n, token: 9n } });
  former.order({ $case: 'cancel', value: { uid, error: undefined, cancelled: true } });
  former.assign(uid, 1, 1n);
  former.assign(newUid(), 1, 1n);
  const last = newUid();
  former.assign(last, 0, 1n);
  await until('all of it arrived', () => begun.includes(last));
  expect(begun).toEqual([uid, marker, last]);
  expect(stopped).toEqual([]);
});

test('control: where partitions are not told of, a former owner is believed', async () => {
  present.order({ $case: 'announcementWanted', value: { partitions: [] } });
  const [one, two] = [newUid(), newUid()];
  former.assign(one, 1, 1n);
  former.assign(two, 0, 1n);
  await until('both run', () => begun.length === 2);
});

test('a run that knows all that is on record goes on when it is assigned anew', async () => {
  const uid = newUid();
  former.assign(uid, 1, 1n);
  await until('it runs', () => begun.includes(uid));
  present.assign(uid, 1, 2n);
  const marker = newUid();
  present.assign(marker, 2, 1n);
  await until('the assignment arrived', () => begun.includes(marker));
  expect(begun).toEqual([uid, marker]);
  present.order({ $case: 'cancel', value: { uid, error: undefined, cancelled: true } });
  await until('its new owner is heard', () => stopped.includes(uid));
});
