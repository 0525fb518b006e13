// The way in for `npm start`, `npm test` and `npm run setup`: sets the machine up, then runs the program.
// Owner: the tool chain. Runs on Node 18 and later with nothing installed, so it imports no package.
// Interrupted during the set-up it takes back what must not stay, and the next run goes on from there.
import os from 'node:os';
import { runNode24 } from './setup/node24.mjs';
import { setUp } from './setup/set-up.mjs';

const [mode = '', ...args] = process.argv.slice(2);

function start({ image, noGuests }) {
  const simulate = noGuests !== undefined && !args.includes('--simulate');
  if (simulate) {
    console.log(`No real virtual machines on this machine: ${noGuests}`);
    console.log('Going on with the simulated hypervisor (--simulate).\n');
  }
  const env = image === undefined ? {} : { NEPHOS_GUEST_IMAGE: image };
  return runNode24(['deploy/local/src/main.ts', ...(simulate ? ['--simulate'] : []), ...args], env);
}

function test({ image, noGuests }) {
  if (noGuests !== undefined) console.log(`Tests with real virtual machines will fail: ${noGuests}\n`);
  const env = image === undefined ? {} : { NEPHOS_GUEST_IMAGE: image };
  return runNode24(['--experimental-vm-modules', 'node_modules/jest/bin/jest.js', ...args], env);
}

function setup({ noGuests }) {
  console.log(noGuests === undefined ? 'Everything is there.' : `No real virtual machines: ${noGuests}`);
  return 0;
}

const programs = { start, test, setup };
const program = programs[mode];
if (program === undefined) {
  console.error(`usage: node scripts/bootstrap.mjs ${Object.keys(programs).join('|')} [arguments]`);
  process.exit(2);
}
const interrupt = (signal) => process.exit(128 + os.constants.signals[signal]);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, interrupt);
try {
  const ready = await setUp({
    wantGuests: !(mode === 'start' && args.includes('--simulate')),
    wantTestServers: mode !== 'start',
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.off(signal, interrupt);
  process.exitCode = await program(ready);
} catch (error) {
  console.error(`\nThe set-up failed: ${error.message}`);
  process.exitCode = 1;
}
