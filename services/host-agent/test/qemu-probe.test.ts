/** Finding QEMU and what runs guests: with the real one, and with programs that stand where it should be. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { systemClock } from '@nephos/service';
import { probeQemu } from '../src/adapters/qemu/probe.ts';

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'nephos-probe-test-'));
});
afterAll(async () => await rm(folder, { recursive: true }));

async function script(name: string, text: string): Promise<string> {
  const file = path.join(folder, name);
  await writeFile(file, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  return file;
}

test('the real QEMU is found with an accelerator that ran a program, and the reason', async () => {
  const found = await probeQemu({ clock: systemClock });
  expect(found.version).toMatch(/^\d+\.\d+\.\d+$/);
  expect(found.imageToolVersion).toBe(found.version);
  expect(['kvm', 'tcg']).toContain(found.accelerator);
  expect(found.acceleratorReason).toMatch(
    found.accelerator === 'kvm' ? /ran a trial program/ : /emulated: .*kvm/,
  );
});

test('an accelerator that hangs is given up after its time', async () => {
  const binary = await script(
    'qemu-hangs',
    'case "$*" in *version*) echo "version 8.2.0";; *) exec sleep 60;; esac',
  );
  const probing = probeQemu({ clock: systemClock, binary, timeoutMs: 300 });
  await expect(probing).rejects.toMatchObject({
    reason: 'HYPERVISOR_FAILED',
    message: expect.stringContaining('not done after 300 ms'),
  });
});

test('a KVM that fails falls back to emulation and says why', async () => {
  const binary = await script(
    'qemu-without-kvm',
    'case "$*" in *version*) echo "version 8.2.0";; *"accel kvm"*) echo "KVM internal error"; exit 1;; *) exit 85;; esac',
  );
  const found = await probeQemu({ clock: systemClock, binary });
  expect(found).toMatchObject({
    version: '8.2.0',
    accelerator: 'tcg',
    acceleratorReason: expect.stringMatching(/kvm/),
  });
});

test('what is missing or too old is named, with the package', async () => {
  const missing = probeQemu({ clock: systemClock, binary: '/nowhere/qemu-system-x86_64' });
  await expect(missing).rejects.toMatchObject({ message: expect.stringContaining('qemu-system-x86') });
  const binary = await script('qemu-old', 'echo "QEMU emulator version 5.2.0 (Debian 1:5.2)"');
  const old = probeQemu({ clock: systemClock, binary });
  await expect(old).rejects.toMatchObject({ message: expect.stringContaining('7.2') });
});
