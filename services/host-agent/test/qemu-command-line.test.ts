/**
 * Specs beside their exact QEMU arguments, one a line, in `golden/`. After a change that is meant, run with
 * UPDATE_GOLDEN=1 and review the difference: an address that moved breaks guests that exist.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from '@jest/globals';
import { type Accelerator, commandLine } from '../src/domain/qemu/command-line.ts';
import type { MachinePaths } from '../src/domain/qemu/devices.ts';
import type { MachineSpec } from '../src/domain/qemu/machine.ts';

const paths: MachinePaths = {
  qmp: '/run/nephos-1/vm.qmp',
  spareQmp: '/run/nephos-1/vm.spare',
  serialSocket: '/run/nephos-1/vm.serial',
  serialLog: '/var/lib/nephos/vms/vm/serial.log',
  vnc: '/run/nephos-1/vm.vnc',
  pidFile: '/var/lib/nephos/vms/vm/qemu.pid',
};

const base = { path: '/var/lib/nephos/images/base.qcow2', format: 'qcow2' } as const;
const root = { path: '/var/lib/nephos/volumes/root.qcow2', format: 'qcow2', backing: base } as const;
const plain: MachineSpec = {
  vmUid: '01920000-0000-7000-8000-000000000001',
  incarnationUid: '01920000-0000-7000-8000-000000000002',
  generation: 1n,
  hostname: 'web-1',
  vcpus: 1,
  memoryBytes: 256n * 2n ** 20n,
  disks: [{ volumeUid: '01920000-0000-7000-8000-0000000000a1', readOnly: false, image: root }],
  pinned: {},
};
const oneDisk = plain.disks[0];
if (!oneDisk) throw new Error('the plain machine has a disk');

const table: Record<string, { spec: MachineSpec; accelerator: Accelerator; paths?: MachinePaths }> = {
  'plain-tcg': { spec: plain, accelerator: 'tcg' },
  'large-kvm': { spec: { ...plain, vcpus: 8, memoryBytes: 64n * 2n ** 30n }, accelerator: 'kvm' },
  'pinned-before': {
    spec: { ...plain, pinned: { machine_type: 'pc-q35-8.2', cpu_model: 'EPYC-v4', pci_layout: '1' } },
    accelerator: 'kvm',
  },
  'three-disks': {
    spec: {
      ...plain,
      disks: [
        { ...oneDisk, image: { path: '/volumes/root.qcow2', format: 'qcow2', backing: { ...root } } },
        {
          volumeUid: '01920000-0000-7000-8000-0000000000a2',
          readOnly: false,
          image: { path: '/volumes/data.qcow2', format: 'qcow2' },
        },
        {
          volumeUid: '01920000-0000-7000-8000-0000000000a3',
          readOnly: true,
          image: { path: '/isos/tools.iso', format: 'raw' },
        },
      ],
    },
    accelerator: 'tcg',
  },
  'names-with-commas': {
    spec: {
      ...plain,
      disks: [
        {
          ...oneDisk,
          image: {
            path: '/a,b/root",readonly=off',
            format: 'qcow2',
            backing: { path: '/nbd:x', format: 'raw' },
          },
        },
      ],
    },
    accelerator: 'tcg',
    paths: { ...paths, qmp: '/run/a,b/vm.qmp', serialLog: '/var/a,b/serial.log' },
  },
};

function lines(args: readonly string[]): string {
  return args
    .map((arg) => (/^-[A-Za-z]/.test(arg) ? `\n${arg}` : ` ${arg}`))
    .join('')
    .trimStart()
    .concat('\n');
}

test.each(Object.entries(table))('the arguments of %s', (name, { spec, accelerator, paths: own }) => {
  const file = path.join(import.meta.dirname, 'golden', `${name}.txt`);
  const args = lines(commandLine(spec, own ?? paths, accelerator));
  if (process.env['UPDATE_GOLDEN']) writeFileSync(file, args);
  expect(args).toBe(readFileSync(file, 'utf8'));
});

test.each<[string, Partial<MachineSpec>, string]>([
  ['a hostname with a comma', { hostname: 'a,b' }, 'machine.hostname'],
  ['a hostname of two lines', { hostname: 'a\nb' }, 'machine.hostname'],
  ['no hostname', { hostname: '' }, 'machine.hostname'],
  ['a uid that is none', { vmUid: '../../etc' }, 'machine.vm_uid'],
  ['no processor', { vcpus: 0 }, 'machine.vcpus'],
  ['half a processor', { vcpus: 0.5 }, 'machine.vcpus'],
  ['memory in broken MiB', { memoryBytes: 1000n }, 'machine.memory_bytes'],
  ['no disk', { disks: [] }, 'machine.disks'],
  ['a volume twice', { disks: [oneDisk, oneDisk] }, 'machine.disks'],
  [
    'a relative path',
    { disks: [{ ...oneDisk, image: { path: 'root.qcow2', format: 'raw' } }] },
    'machine.disks[0]',
  ],
  ['a processor with flags', { pinned: { cpu_model: 'Nehalem-v1,-nx' } }, 'machine.pinned'],
  ['a machine type without a version', { pinned: { machine_type: 'q35' } }, 'machine.pinned'],
])('refused with its field named: %s', (_what, change, field) => {
  let fault: unknown;
  try {
    commandLine({ ...plain, ...change }, paths, 'tcg');
  } catch (thrown) {
    fault = thrown;
  }
  expect(fault).toMatchObject({ reason: 'FIELD_INVALID', details: { fields: [{ field }] } });
});

test('a PCI layout of a newer agent is not guessed at', () => {
  const spec = { ...plain, pinned: { pci_layout: '2' } };
  expect(() => commandLine(spec, paths, 'tcg')).toThrow(
    expect.objectContaining({ reason: 'HYPERVISOR_FAILED' }),
  );
});
