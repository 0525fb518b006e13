/**
 * Both sides of the events' cases, started: a broker each, a writer process and a subscriber process each, as in
 * production. Stopped in reverse order; temporary folders go with them.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { startNatsServer } from '@nephos/events/testing';
import { Child, type Commands } from '../child.ts';
import { cpuOf } from '../machine.ts';
import type { SubscriberCommands, WriterCommands } from './commands.ts';
import { makeRawStream, newestOfOurs } from './raw-stream.ts';

export interface Side {
  readonly writer: Child<WriterCommands>;
  readonly subscriber: Child<SubscriberCommands>;
  /** Processor time so far, microseconds: of writer and subscriber, and of the broker. */
  cpu(): Promise<{ readonly programs: number; readonly broker: number }>;
}

function start<C extends Commands>(name: string, ...args: string[]): Promise<Child<C>> {
  return Child.start<C>(path.join(import.meta.dirname, `${name}-process.ts`), args);
}

export async function startOurs(
  open: AsyncDisposableStack,
  subscribers: number,
): Promise<Side & { readonly nats: string }> {
  const broker = open.use(await startNatsServer());
  const folder = await mkdtemp(path.join(tmpdir(), 'nephos-bench-'));
  open.defer(() => rm(folder, { recursive: true, force: true }));
  const writer = open.use(await start<WriterCommands>('our-writer', broker.url, folder));
  const subscriber = open.use(
    await start<SubscriberCommands>('our-subscriber', broker.url, String(subscribers)),
  );
  return { ...sideOf(writer, subscriber, () => broker.pid), nats: broker.url };
}

/** After one write of ours of the kind that is measured: the peer publishes those bytes. */
export async function startRaw(
  open: AsyncDisposableStack,
  subscribers: number,
  ours: { readonly nats: string },
  withState = false,
): Promise<Side> {
  const body = await newestOfOurs(ours.nats);
  const broker = open.use(await startNatsServer());
  await makeRawStream(broker.url, subscribers, withState);
  const writer = open.use(await start<WriterCommands>('raw-writer', broker.url, body));
  const subscriber = open.use(
    await start<SubscriberCommands>('raw-subscriber', broker.url, String(subscribers)),
  );
  return sideOf(writer, subscriber, () => broker.pid);
}

function sideOf(
  writer: Child<WriterCommands>,
  subscriber: Child<SubscriberCommands>,
  brokerPid: () => number,
): Side {
  return {
    writer,
    subscriber,
    async cpu() {
      const [writing, subscribing] = await Promise.all([writer.cpu(), subscriber.cpu()]);
      return { programs: writing + subscribing, broker: cpuOf(brokerPid()) };
    },
  };
}
