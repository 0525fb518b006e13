/**
 * A world whose name server changes its answers, in a network namespace of its own: dnsmasq, a bus, directories as
 * processes on addresses of their own and a service that knows them by one name. Says what it saw, a JSON line a step.
 * Started as `ip netns exec NAME node dns-child.ts FOLDER`; /etc/netns/NAME/resolv.conf names 127.0.0.1.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { startNatsServer } from '@nephos/events/testing';
import { DirectoryServiceDefinition } from '@nephos/proto/nephos/directory/v1/directory_service';
import { openClients, systemClock } from '@nephos/service';
import { Stack } from './stack.ts';

const name = 'directory.nephos.svc.test';
const folder = process.argv[2] ?? '.';
const hosts = path.join(folder, 'hosts');

function say(step: string, facts: object = {}): void {
  process.stdout.write(`${JSON.stringify({ step, ...facts })}\n`);
}

await using stack = new Stack();
await writeFile(hosts, '');
const dnsmasq = spawn(
  '/usr/sbin/dnsmasq',
  ['--keep-in-foreground', '--no-resolv', '--no-hosts', '--user=root', '--pid-file', `--addn-hosts=${hosts}`],
  { stdio: 'ignore' },
);
stack.use({
  async [Symbol.asyncDispose]() {
    const ended = once(dnsmasq, 'exit');
    dnsmasq.kill();
    await ended;
  },
});

/** From here on the name has these addresses. */
async function resolvesTo(...addresses: string[]): Promise<void> {
  await writeFile(hosts, '');
  for (const address of addresses) await appendFile(hosts, `${address} ${name}\n`);
  dnsmasq.kill('SIGHUP');
  say('dns', { addresses });
}

using clients = openClients('users/looker');

/** Until that directory, asked by itself, lists the service at that address. `meanwhile` is called at each look. */
async function lists(directory: string, service: string, meanwhile = () => {}): Promise<string> {
  const client = clients.of(DirectoryServiceDefinition, directory);
  for (;;) {
    const page = await client.listInstances({ filter: `service = "${service}"` }).catch(() => undefined);
    const [found] = page?.instances ?? [];
    if (found !== undefined) return found.address;
    meanwhile();
    await systemClock.sleep(50);
  }
}

// Each directory has a bus of its own: what one knows, another can only have been told.
const directories = ['127.0.1.1:7000', '127.0.1.2:7000', '[::1]:7000'];
const launch = async (at: number) => {
  const nats = stack.use(await startNatsServer());
  return stack.directoryProcess(nats.url, { bind: directories[at] ?? '' });
};

const caller = await stack.service('caller', {
  seeds: `${name}:7000`,
  bind: '0.0.0.0:0',
  advertise: '127.0.1.9',
});
const bound = `127.0.1.9:${caller.address.port}`;
say('started before the name exists', { bound });

const first = await launch(0);
await resolvesTo('127.0.1.1');
say('first', { listed: await lists(directories[0] ?? '', 'caller') });

const second = await launch(1);
await resolvesTo('127.0.1.1', '127.0.1.2');
// Renewals stay with the first, as long as it is well; registrations go to any.
let changes = 0;
const registers = () => caller.handle.setLabels({ change: String((changes += 1)) });
say('second, with the first well', { listed: await lists(directories[1] ?? '', 'caller', registers) });

await resolvesTo('127.0.1.2');
await first.kill();
say('first gone', { listed: await lists(directories[1] ?? '', 'caller') });

await launch(2);
await resolvesTo('::1');
await second.kill();
say('moved to IPv6', { listed: await lists(directories[2] ?? '', 'caller') });
