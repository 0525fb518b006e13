/** Executors spoken to frame by frame: who holds a job, and whose word about it counts. */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { defineJob, type JobClient } from '@nephos/jobs';
import { Frames } from '@nephos/jobs/protocol';
import {
  type ExecutorOrder,
  type ExecutorReport,
  ExecutorServiceDefinition,
  type HeldJob,
  type JobAssignment,
  type JobReport,
} from '@nephos/proto/nephos/jobs/v1/executor';
import { JobState, NewJob } from '@nephos/proto/nephos/jobs/v1/jobs';
import { Stack, submission, until, type Worker } from './stack.ts';

const held = defineJob({ type: 'raw.held', version: 1, timeoutMs: 60_000, run: async () => {} });

type Order = NonNullable<ExecutorOrder['order']>;
type OrderOf<K extends Order['$case']> = Extract<Order, { $case: K }>['value'];

/** A grace that no test outlasts, however slow the machine. */
const patient = { NEPHOS_JOB_GRACE: '60s' };

/** An executor that does nothing by itself. */
class RawExecutor {
  readonly orders: Order[] = [];
  readonly #reports = new Frames<ExecutorReport>();
  readonly #stop = new AbortController();
  readonly over: Promise<void>;
  #beat: NodeJS.Timeout;

  constructor(worker: Worker, address: string, name: string, jobs: HeldJob[] = []) {
    this.#reports.push({
      report: {
        $case: 'hello',
        value: {
          executor: name,
          service: 'raw',
          types: [{ type: 'raw.held', version: 1 }],
          announcement: { jobs },
          credit: { limit: 10 },
        },
      },
    });
    const service = worker.context.clients.of(ExecutorServiceDefinition, address);
    this.over = this.#run(service.connect(this.#frames(), { signal: this.#stop.signal, waitForReady: true }));
    this.#beat = setInterval(() => this.#reports.push({ report: { $case: 'heartbeat', value: {} } }), 100);
  }

  async *#frames() {
    for await (const reports of this.#reports) yield { reports: [...reports] };
  }

  async #run(stream: AsyncIterable<{ orders: ExecutorOrder[] }>): Promise<void> {
    try {
      for await (const { orders } of stream)
        for (const { order } of orders) if (order) this.orders.push(order);
    } catch {
      // Ended by the test, or by job control going away.
    } finally {
      clearInterval(this.#beat);
    }
  }

  async order<K extends Order['$case']>(kind: K): Promise<OrderOf<K>> {
    await until(`an order to ${kind}`, () => this.orders.some(({ $case }) => $case === kind));
    const at = this.orders.findIndex(({ $case }) => $case === kind);
    const [order] = this.orders.splice(at, 1);
    return (order as Extract<Order, { $case: K }>).value as OrderOf<K>;
  }

  finish(uid: string, token: bigint, result: string, reportId: number): void {
    const outcome = { $case: 'result', value: JSON.stringify(result) } as const;
    this.tell(uid, token, reportId, { $case: 'finished', value: { outcome } });
  }

  tell(uid: string, token: bigint, reportId: number, report: JobReport['report']): void {
    this.#reports.push({ report: { $case: 'job', value: { uid, token, reportId, report } } });
  }

  silence(): void {
    clearInterval(this.#beat);
  }

  async leave(): Promise<void> {
    clearInterval(this.#beat);
    this.#stop.abort();
    await this.over;
  }
}

let stack: Stack;
let worker: Worker;
let client: JobClient;
const raws: RawExecutor[] = [];

function connect(name: string, jobs: HeldJob[] = []): RawExecutor {
  const raw = new RawExecutor(worker, stack.address, name, jobs);
  raws.push(raw);
  return raw;
}

beforeEach(async () => {
  stack = await Stack.make();
  await stack.control();
  worker = await stack.worker();
  client = worker.client;
});

afterEach(async () => {
  await Promise.all(raws.splice(0).map((raw) => raw.leave()));
  await stack[Symbol.asyncDispose]();
});

async function assigned(raw: RawExecutor): Promise<JobAssignment> {
  const job = await client.submit(held, submission({}));
  const order = await raw.order('assign');
  expect(order.uid).toBe(job.header?.uid);
  return order;
}

const heldJob = ({ uid, epoch, token }: JobAssignment): HeldJob => ({ uid, epoch, token });

test("a zombie's completion is refused; the new holder's counts", async () => {
  const zombie = connect('zombie');
  const first = await assigned(zombie);
  await zombie.leave();
  const heir = connect('heir');
  const second = await heir.order('assign');
  expect(second.uid).toBe(first.uid);
  expect(second.token).toBeGreaterThan(first.token);
  const back = connect('zombie', [heldJob(first)]);
  expect(await back.order('revoke')).toEqual({ uid: first.uid });
  back.finish(first.uid, first.token, 'zombie', 1);
  expect((await back.order('ack')).outcome?.$case).toBe('refused');
  // Not even with a token that it guessed.
  back.finish(first.uid, second.token, 'thief', 2);
  expect((await back.order('ack')).outcome?.$case).toBe('refused');
  expect((await client.get(first.uid)).state).toBe(JobState.RUNNING);
  heir.finish(first.uid, second.token, 'heir', 3);
  expect((await heir.order('ack')).outcome?.$case).toBe('taken');
  expect((await client.get(first.uid)).result).toBe('heir');
});

test('an executor back within the grace keeps its job, under a new token', async () => {
  await stack.restart(patient);
  const one = connect('one');
  const first = await assigned(one);
  await one.leave();
  const back = connect('one', [heldJob(first)]);
  const adoption = await back.order('adopt');
  expect(adoption.token).toBeGreaterThan(first.token);
  back.finish(first.uid, first.token, 'old token', 1);
  expect((await back.order('ack')).outcome?.$case).toBe('refused');
  back.finish(first.uid, adoption.token, 'kept', 2);
  expect((await back.order('ack')).outcome?.$case).toBe('taken');
  expect((await client.get(first.uid)).result).toBe('kept');
});

test('an executor that falls silent loses its jobs', async () => {
  const mute = connect('mute');
  const first = await assigned(mute);
  mute.silence();
  await mute.over;
  const heir = connect('heir');
  expect((await heir.order('assign')).uid).toBe(first.uid);
});

test('after a restart, running jobs are adopted and not run again', async () => {
  const one = connect('one');
  const first = await assigned(one);
  await stack.restart(patient);
  await one.over;
  const other = connect('other');
  const back = connect('one', [heldJob(first)]);
  const adoption = await back.order('adopt');
  expect(adoption.epoch).toBeGreaterThan(first.epoch);
  back.finish(first.uid, adoption.token, 'kept', 1);
  expect((await back.order('ack')).outcome?.$case).toBe('taken');
  expect(other.orders.filter(({ $case }) => $case === 'assign')).toEqual([]);
});

test('after a restart, what nobody announces is assigned anew; who comes too late is refused', async () => {
  const one = connect('one');
  const first = await assigned(one);
  await stack.restart();
  const heir = connect('heir');
  const second = await heir.order('assign');
  expect(second.epoch).toBeGreaterThan(first.epoch);
  const late = connect('one', [heldJob(first)]);
  expect(await late.order('revoke')).toEqual({ uid: first.uid });
});

test('of two who announce the same job after a restart, only its last holder keeps it', async () => {
  const one = connect('one');
  const first = await assigned(one);
  await one.leave();
  const two = connect('two');
  const second = await two.order('assign');
  await stack.restart(patient);
  const zombie = connect('one', [heldJob(first)]);
  expect(await zombie.order('revoke')).toEqual({ uid: first.uid });
  const holder = connect('two', [heldJob(second)]);
  expect((await holder.order('adopt')).uid).toBe(first.uid);
});

test('a job announced that is over, or never was, is dropped', async () => {
  const one = connect('one');
  const first = await assigned(one);
  one.finish(first.uid, first.token, 'done', 1);
  await one.order('ack');
  await one.leave();
  const back = connect('one', [heldJob(first)]);
  expect(await back.order('revoke')).toEqual({ uid: first.uid });
});

test('no more jobs than the credit', async () => {
  const one = connect('one');
  const jobs = await Promise.all(Array.from({ length: 15 }, () => client.submit(held, submission({}))));
  await until('ten are assigned', () => one.orders.filter(({ $case }) => $case === 'assign').length === 10);
  const states = await Promise.all(
    jobs.map(async ({ header }) => (await client.get(header?.uid ?? '')).state),
  );
  expect(states.filter((state) => state === JobState.RUNNING)).toHaveLength(10);
  const running = await client.list({ filter: 'state = "RUNNING"' });
  expect(running.jobs).toHaveLength(10);
  expect((await client.list({ filter: 'state = "QUEUED"' })).jobs).toHaveLength(5);
});

test('a cancelled job whose unwinding was to be tried again was assigned anew at once, without a pause', async () => {
  const raw = connect('one');
  const { uid, token } = await assigned(raw);
  await client.cancel(uid);
  const { error } = await raw.order('cancel');
  raw.tell(uid, token, 1, { $case: 'unwinding', value: { error, cancelled: true } });
  expect((await raw.order('ack')).outcome?.$case).toBe('taken');
  raw.tell(uid, token, 2, { $case: 'retry', value: { error, backoff: 60_000n } });
  expect((await raw.order('ack')).outcome?.$case).toBe('taken');
  expect(await client.get(uid)).toMatchObject({ state: JobState.UNWINDING, executor: '' });
  expect((await client.get(uid)).nextAttemptTime).toBeInstanceOf(Date);
});

test('an announcement of what is no uid broke the stream, and job control with it', async () => {
  const nobody = { uid: '', epoch: 1n, token: 1n };
  const raw = connect('one', [nobody]);
  expect(await raw.order('revoke')).toEqual({ uid: '' });
  const { uid, token } = await assigned(raw);
  raw.tell(uid, token, 1, { $case: 'wait', value: { uids: [''] } });
  // It names no job, so none that is still to end: a wait for it was never answered.
  expect((await raw.order('ack')).outcome).toMatchObject({ $case: 'children', value: { outcomes: [{}] } });
});

test("a job that named another's as its child took that one down with it", async () => {
  const raw = connect('one');
  const { uid, token } = await assigned(raw);
  const other = await assigned(raw);
  const { type, owner } = other;
  const job = NewJob.fromPartial({ uid: other.uid, type, owner, definitionVersion: 1, input: {} });
  raw.tell(uid, token, 1, { $case: 'child', value: { job } });
  expect((await raw.order('ack')).outcome?.$case).toBe('error');
  raw.tell(uid, token, 2, { $case: 'unwinding', value: { error: undefined, cancelled: false } });
  expect((await raw.order('ack')).outcome?.$case).toBe('taken');
  expect((await client.get(other.uid)).cancelRequested).toBe(false);
});
