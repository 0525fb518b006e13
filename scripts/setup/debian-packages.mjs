// The Debian packages that Nephos uses, each with its reason, and their installation where that is possible:
// as root, on Debian or Ubuntu. Elsewhere the commands are printed and the set-up goes on with what is there.
// Owner: the tool chain. No system service is started or left enabled: Nephos starts its own nats-server.
import fs from 'node:fs';
import path from 'node:path';
import { installed as guestBuildPackages } from '../../deploy/guest/packages.mjs';
import { run } from './run.mjs';

/** `command` tells whether the package is there; it may as well come from elsewhere. */
export const messageBus = [
  {
    name: 'nats-server',
    command: 'nats-server',
    reason: 'the message bus that carries entity-change events',
  },
];
export const realGuests = [
  {
    name: 'qemu-system-x86',
    command: 'qemu-system-x86_64',
    reason: 'runs real virtual machines (without it: simulated ones)',
  },
  { name: 'qemu-utils', command: 'qemu-img', reason: 'makes and inspects disk images' },
];
export const testServers = [
  { name: 'iproute2', command: 'ip', reason: 'network namespaces for tests' },
  { name: 'dnsmasq-base', command: 'dnsmasq', reason: 'a name server for tests' },
];
export const guestBuild = guestBuildPackages;

const policyFile = '/usr/sbin/policy-rc.d';
const natsAtBoot = '/etc/systemd/system/multi-user.target.wants/nats-server.service';
const searched = [...(process.env.PATH ?? '').split(path.delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin'];

/** PATH with the folders where Debian keeps servers, which other users than root often lack. */
export const pathWithServers = [...new Set(searched.filter(Boolean))].join(path.delimiter);

export function hasCommand(command) {
  return searched.some((folder) => folder !== '' && fs.existsSync(path.join(folder, command)));
}

/** Those of the packages that are missing, each once. */
export function missingOf(packages) {
  const missing = packages.filter(({ command }) => !hasCommand(command));
  return missing.filter(({ name }, index) => missing.findIndex((other) => other.name === name) === index);
}

export function canInstall() {
  return process.getuid?.() === 0 && fs.existsSync('/etc/debian_version') && hasCommand('apt-get');
}

export function commandsFor(packages) {
  const names = packages.map(({ name }) => name).join(' ');
  return ['apt-get update', `apt-get install --yes --no-install-recommends ${names}`];
}

/** Debian's packages start their services on installation unless this policy forbids it. */
async function withoutServiceStarts(work) {
  const ours = !fs.existsSync(policyFile);
  const withdraw = () => ours && fs.rmSync(policyFile, { force: true });
  process.once('exit', withdraw);
  if (ours) fs.writeFileSync(policyFile, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    return await work();
  } finally {
    withdraw();
    process.off('exit', withdraw);
  }
}

export async function install(packages) {
  const env = { DEBIAN_FRONTEND: 'noninteractive' };
  const options = ['-o', 'DPkg::Lock::Timeout=300', '-o', 'Acquire::Retries=3'];
  const names = packages.map(({ name }) => name);
  await run('apt-get', ['update', ...options], { log: 'apt.log', env });
  await withoutServiceStarts(() =>
    run('apt-get', ['install', '--yes', '--no-install-recommends', ...options, ...names], {
      log: 'apt.log',
      env,
    }),
  );
  // The package also enables its service for the next boot, on the port that ours may want.
  if (names.includes('nats-server')) fs.rmSync(natsAtBoot, { force: true });
}
