import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type Platform, startPlatform } from '@nephos/testing';
import { runLine, type Where } from './cli-run.ts';

let platform: Platform;
let where: Where;
let server: http.Server;
let status = 500;

beforeAll(async () => {
  platform = await startPlatform({ env: { NEPHOS_WEBHOOK_ALLOW: '127.0.0.1/32' } });
  const { nats, services } = platform;
  where = { directory: services.directory.address, nats: nats.url, natsCreds: nats.keys?.credsOf('test') };
  server = http.createServer((request, response) => {
    request.resume();
    response.writeHead(status).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(async () => {
  await platform[Symbol.asyncDispose]();
  await new Promise((resolve) => server.close(resolve));
});

const run = (line: string) => runLine(where, line);

test('a webhook from its creation to its end', async () => {
  const { port } = server.address() as AddressInfo;
  const made = await run(
    `webhooks create billing --url http://127.0.0.1:${port}/hook --owner acme --entity vm --verb created --timeout 5`,
  );
  expect(made).toMatchObject({ code: 0, stdout: expect.stringMatching(/^secret +whsec_\S+$/m) });
  expect((await run('webhooks list')).stdout).toMatch(/^billing +ACTIVE +http:\/\/127\.0\.0\.1:\d+ \(/m);

  expect(await run('webhooks ping billing')).toMatchObject({
    code: 1,
    stdout: expect.stringContaining('STATE_DEAD'),
    stderr: expect.stringContaining('not delivered'),
  });
  const log = JSON.parse((await run('webhooks deliveries billing --json')).stdout) as { name: string }[];
  expect(log).toHaveLength(1);
  status = 204;
  expect((await run('webhooks resend billing')).stdout).toBe('1 wait to be sent\n');
  for (;;) {
    const shown = await run(`webhooks delivery ${log[0]?.name}`);
    if (shown.stdout.includes('STATE_DELIVERED')) break;
  }
  expect((await run('webhooks deliveries billing')).stdout).toMatch(/^DELIVERED +webhook\/.* +2 +204 /m);
  // As the table of a narrow terminal prints the name.
  const ends = log[0]?.name.replace(/[0-9a-f-]{24}([0-9a-f]{12})/g, '…$1');
  expect((await run(`webhooks drop ${ends}`)).stdout).toBe('1 dropped\n');
  expect(await run(`webhooks drop ${ends}`)).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/there is no delivery .*; "nephos webhooks deliveries .*" shows them \[/),
  });

  expect((await run('webhooks disable billing')).stdout).toMatch(/STATE_DISABLED/);
  expect((await run('webhooks enable billing')).stdout).toMatch(/STATE_ACTIVE/);
  expect((await run('webhooks rotate-secret billing --overlap 0')).stdout).toMatch(/^secret +whsec_/m);
  expect((await run('webhooks delete billing')).code).toBe(0);
  expect(JSON.parse((await run('webhooks list --json')).stdout)).toEqual([]);
});

test('an address inside is refused with a reason', async () => {
  const refused = await run('webhooks create inside --url https://169.254.169.254/latest');
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringMatching(/not a public address/) });
});
