/** The streams of a plugin end when they should. */
import { expect, test } from '@jest/globals';
import type { HostCapabilities, MachineObservation } from '@nephos/proto/nephos/plugin/v1/hypervisor';
import { type Call, newUid, systemClock } from '@nephos/service';
import type { HypervisorDriver, StorageDriver } from '../src/drivers.ts';
import { ObservationLog } from '../src/observation-log.ts';
import { serveHypervisor } from '../src/serve-hypervisor.ts';
import { serveStorage } from '../src/serve-storage.ts';
import { watchObservations } from '../src/watch.ts';

const call = (signal = new AbortController().signal) => ({ signal }) as unknown as Call;
const noGuard = { admit: async () => undefined, entityGone: async () => undefined };
const hosts = [{ host: 'h' }] as unknown as HostCapabilities[];

test('a console that is not followed ends, though its guest never stops talking', async () => {
  const piece = 1_000;
  const driver = {
    capabilities: () => hosts,
    onObservation: () => ({ [Symbol.dispose]: () => undefined }),
    readConsole: async (_host: string, _vm: string, offset: number) => ({
      offset,
      data: Buffer.alloc(piece),
    }),
  } as unknown as HypervisorDriver;
  await using resources = new AsyncDisposableStack();
  const draining = new AbortController().signal;
  const parts = { driver, guard: noGuard, clock: systemClock, agentId: 'a', resources, draining };
  const request = { host: 'h', vmUid: newUid(), offset: 0n, follow: false };
  let pieces = 0;
  for await (const _piece of serveHypervisor(parts).readConsole(request, call())) {
    pieces += 1;
    if (pieces > 10) break;
  }
  expect(pieces).toBe(1);
});

test('a host that shuts its guests down starts none of them again', async () => {
  const started: unknown[] = [];
  const driver = {
    capabilities: () => hosts,
    onObservation: () => ({ [Symbol.dispose]: () => undefined }),
    start: async (...all: unknown[]) => started.push(all),
  } as unknown as HypervisorDriver;
  await using resources = new AsyncDisposableStack();
  const never = new AbortController().signal;
  const parts = { driver, guard: noGuard, clock: systemClock, agentId: 'a', resources, draining: never };
  const { startMachine } = serveHypervisor({ ...parts, stopping: AbortSignal.abort() });
  const machine = {
    vmUid: newUid(),
    incarnationUid: newUid(),
    generation: 1n,
    hostname: 'h',
    vcpus: 1,
    memoryBytes: 2n ** 30n,
    disks: [{ volumeUid: newUid(), readOnly: false }],
    pinned: {},
  };
  await expect(startMachine({ fence: undefined, host: 'h', machine }, call())).rejects.toMatchObject({
    kind: 'unavailable',
  });
  expect(started).toEqual([]);
});

test('an agent that leaves says its last and ends the stream without waiting for a heartbeat', async () => {
  const log = new ObservationLog();
  const leaving = new AbortController();
  const clock = { ...systemClock, every: () => ({ [Symbol.dispose]: () => undefined }) };
  const driver = { capabilities: () => [] } as unknown as HypervisorDriver;
  const parts = { driver, log, clock: clock as typeof systemClock, draining: leaving.signal };
  const stream = watchObservations(parts, '', new AbortController().signal);
  expect((await stream.next()).value).toMatchObject({ snapshotComplete: true });
  log.append({ vmUid: newUid() } as unknown as MachineObservation);
  leaving.abort();
  const last = [];
  for await (const message of stream) last.push(message);
  expect(last[0]).toMatchObject({ draining: true, observations: [expect.anything()] });
});

test('an image of no or negative size is refused before anything is fetched', () => {
  const asked: unknown[] = [];
  const driver = {
    ensureTemplate: async (...all: unknown[]) => void asked.push(all),
  } as unknown as StorageDriver;
  const service = serveStorage({ driver, guard: noGuard, hosts: () => hosts });
  const request = { host: 'h', template: `templates/${newUid()}`, sha256: 'ab'.repeat(32), format: 'raw' };
  for (const sizeBytes of [0n, -1n, 2n ** 60n]) {
    expect(() => service.ensureTemplate({ ...request, sizeBytes }, call())).toThrow(/size_bytes/);
  }
  expect(asked).toEqual([]);
});
