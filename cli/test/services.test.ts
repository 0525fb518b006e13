import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { connectPlatform } from '@nephos/client';
import { Instance } from '@nephos/proto/nephos/directory/v1/instance';
import { TemplateServiceDefinition } from '@nephos/proto/nephos/template/v1/template';
import { type Platform, startPlatform } from '@nephos/testing';
import { callsOf } from '../src/groups/services.ts';
import { runLine, startCli, type Where } from './cli-run.ts';

let platform: Platform;
let where: Where;
beforeAll(async () => {
  platform = await startPlatform();
  where = { directory: platform.services.directory.address, nats: platform.nats.url };
  // Services register once they serve, in the background.
  while (!(await runLine(where, 'services')).stdout.includes('\norchestrator')) continue;
});
afterAll(async () => platform[Symbol.asyncDispose]());

test('instances are listed with load and zone, shown whole, and wide with what they serve', async () => {
  const plain = await runLine(where, 'services orchestrator');
  expect(plain.stdout).toMatch(
    /^SERVICE +VERSION +HEALTH +LOAD +ZONE +ADDRESS .*\norchestrator +\S+ +[A-Z_]+ +\d+ % /,
  );
  const wide = await runLine(where, 'services orchestrator --wide');
  expect(wide.stdout).toMatch(/GRPC SERVICES\n.*nephos\.orchestration\.v1\.VmService/);
  const [listed] = JSON.parse((await runLine(where, 'services orchestrator --json')).stdout);
  const { uid } = listed.header;
  for (const reference of ['orchestrator', uid, uid.slice(-12)]) {
    const shown = await runLine(where, `services show ${reference}`);
    expect(shown.stdout).toContain(`uid: ${uid}`);
    expect(shown.stdout).toMatch(/renewInterval:\n +nanos: 500000000/);
  }
  expect(await runLine(where, 'services show nobody')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('RESOURCE_NOT_FOUND'),
  });
});

test('who calls whom is told once they did', async () => {
  for (;;) {
    const { stdout } = await runLine(where, 'services calls');
    // Executors hold streams to job control, and each asks the directory for it.
    if (/^orchestrator +directory +\d+ +\d+ +\d{4}-/m.test(stdout) && stdout.startsWith('CALLER')) break;
  }
});

test('a watch tells who is there, who goes and who comes', async () => {
  const watching = startCli(where, ['services', 'watch', 'template']);
  await watching.said('there   template');
  await platform.services.template.stop();
  await watching.said('went    template');
  await platform.services.template.start();
  await watching.said('came    template');
  watching.interrupt();
  expect((await watching.outcome).code).toBe(130);
});

test('who asks for a service between two runs of it waits; in vain, it is told what is missing', async () => {
  const { address } = platform.services.directory;
  const asking = { principal: 'users/patient', directory: address };
  await using patient = connectPlatform({ ...asking, patienceMs: 60_000 });
  await using hasty = connectPlatform({ ...asking, patienceMs: 1 });
  await platform.services.template.stop();
  const waiting = patient.client(TemplateServiceDefinition, 'template');
  await expect(hasty.client(TemplateServiceDefinition, 'template')).rejects.toThrow(
    `the directory at ${address} lists no template that takes calls`,
  );
  await platform.services.template.start();
  await expect((await waiting).listTemplates({})).resolves.toMatchObject({ templates: [] });
});

test('who asks while the directory itself is restarted gets an answer', async () => {
  const { address } = platform.services.directory;
  const asking = { principal: 'users/patient', directory: address, patienceMs: 60_000 };
  await using patient = connectPlatform(asking);
  await platform.services.directory.stop();
  const waiting = patient.client(TemplateServiceDefinition, 'template');
  await platform.services.directory.start();
  await expect((await waiting).listTemplates({})).resolves.toMatchObject({ templates: [] });
});

test('calls of several instances are one row', () => {
  const since = new Date('2026-01-01T00:00:00Z');
  const later = new Date('2026-01-02T00:00:00Z');
  const of = (service: string, calls: bigint, failures: bigint, began: Date) =>
    Instance.fromPartial({ service, callees: [{ service: 'job-control', calls, failures, since: began }] });
  expect(callsOf([of('b', 1n, 0n, later), of('a', 2n, 1n, later), of('a', 3n, 1n, since)])).toEqual([
    { caller: 'a', callee: 'job-control', calls: 5, failures: 2, since: since.toISOString() },
    { caller: 'b', callee: 'job-control', calls: 1, failures: 0, since: later.toISOString() },
  ]);
});
