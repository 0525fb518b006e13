/**
 * Seeds by DNS, as a headless service of Kubernetes gives them: a real name server whose answers change, in a network
 * namespace. That needs root, `ip netns` and dnsmasq (Debian's dnsmasq-base); elsewhere the test says that it did not
 * run.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { expect, test } from '@jest/globals';

function able(): boolean {
  return process.getuid?.() === 0 && existsSync('/usr/sbin/ip') && existsSync('/usr/sbin/dnsmasq');
}

/** A network namespace with loopback alone, whose programs ask the name server at 127.0.0.1. */
async function namespace(name: string): Promise<AsyncDisposable> {
  const own = path.join('/etc/netns', name);
  await mkdir(own, { recursive: true });
  await writeFile(path.join(own, 'resolv.conf'), 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n');
  execFileSync('/usr/sbin/ip', ['netns', 'add', name]);
  execFileSync('/usr/sbin/ip', ['-n', name, 'link', 'set', 'lo', 'up']);
  return {
    async [Symbol.asyncDispose]() {
      execFileSync('/usr/sbin/ip', ['netns', 'delete', name]);
      await rm(own, { recursive: true });
    },
  };
}

test('directories that come and go behind one name are found, IPv4 and IPv6, while others are well', async () => {
  if (!able()) {
    process.stderr.write('NOT RUN: seeds by a changing DNS need root, ip netns and dnsmasq-base\n');
    return;
  }
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(path.join(tmpdir(), 'nephos-dns-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const name = `nephos-${process.pid}`;
  stack.use(await namespace(name));
  const script = path.join(import.meta.dirname, 'dns-child.ts');
  const child = spawn('/usr/sbin/ip', ['netns', 'exec', name, process.execPath, script, folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_NO_WARNINGS: '1', NODE_OPTIONS: '' },
  });
  const steps: { readonly step: string; readonly listed?: string; readonly bound?: string }[] = [];
  for await (const line of createInterface({ input: child.stdout })) steps.push(JSON.parse(line));
  const bound = steps.find((each) => each.bound !== undefined)?.bound;
  expect(steps.filter(({ listed }) => listed !== undefined)).toEqual(
    ['first', 'second, with the first well', 'first gone', 'moved to IPv6'].map((step) => ({
      step,
      listed: bound,
    })),
  );
});
