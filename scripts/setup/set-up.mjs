// What a machine needs before Nephos can run: finds what is missing, says so with the reasons, then gets it.
// Owner: the tool chain. npm packages and Debian packages are fetched at the same time; each part leaves its
// own mark when whole, so that a set-up that was interrupted goes on where it was.
import { protosAreCurrent } from '../generate-protos.mjs';
import * as debian from './debian-packages.mjs';
import { buildGuestImage, guestImage } from './guest-image.mjs';
import { getMongoServer, mongoServerIsWanted } from './mongo-server.mjs';
import { installNodeModules, nodeModulesAreCurrent } from './node-modules.mjs';
import { findNode24 } from './node24.mjs';
import { getPythonPackages, pythonPackagesAreWanted } from './python-packages.mjs';
import { run } from './run.mjs';

async function phase(name, work) {
  const began = performance.now();
  await work();
  console.log(`  ${name.padEnd(34)} ${((performance.now() - began) / 1000).toFixed(1)} s`);
}

/** What is missing. Without `wantGuests` nothing for real virtual machines is looked for, and so on. */
function lookAround({ wantGuests, wantTestServers }) {
  const image = guestImage();
  return {
    nodeModules: !nodeModulesAreCurrent(),
    protos: !protosAreCurrent(),
    guest: wantGuests && image === undefined,
    mongo: wantTestServers && mongoServerIsWanted(),
    python: wantTestServers && pythonPackagesAreWanted(),
    debian: debian.missingOf([
      ...debian.messageBus,
      ...(wantGuests ? debian.realGuests : []),
      ...(wantGuests && image === undefined ? debian.guestBuild : []),
      ...(wantTestServers ? debian.testServers : []),
    ]),
  };
}

function announce(missing) {
  console.log('Set-up. This will:');
  if (missing.nodeModules) {
    console.log(
      '  - install the npm packages of pnpm-lock.yaml into node_modules: the libraries, the test and',
    );
    console.log('    lint tools, and Node 24, which runs the platform');
  }
  if (missing.debian.length > 0) {
    const able = debian.canInstall();
    console.log(
      able ? '  - install Debian packages with apt-get:' : '  - go on without these Debian packages:',
    );
    for (const { name, reason } of missing.debian) console.log(`      ${name.padEnd(18)} ${reason}`);
    if (!able) {
      console.log('    (only root on Debian or Ubuntu can install them; as root, these commands would:)');
      for (const command of debian.commandsFor(missing.debian)) console.log(`      ${command}`);
    }
  }
  if (missing.protos) console.log('  - generate TypeScript from the contracts in proto/');
  if (missing.guest) {
    console.log(
      '  - build the guest image, a tiny Linux to boot as a VM, from Debian packages unpacked in .cache',
    );
  }
  if (missing.mongo) {
    console.log(
      '  - get a server for the tests that need MongoDB: FerretDB with Go, or mongo-java-server with Maven',
    );
  }
  if (missing.python)
    console.log('  - get the Python packages of the examples in Python, for their tests, with pip');
  console.log('');
}

async function getPrograms(missing) {
  if (missing.nodeModules) await phase('npm packages', installNodeModules);
  if (missing.protos) {
    await phase('contracts', () => run(findNode24(), ['scripts/generate-protos.mjs'], { log: 'protos.log' }));
  }
}

/** Returns why no real guest can run, or nothing. Only the message bus is missed so much that it throws. */
async function getGuestTools(missing, wantGuests) {
  let failure = '';
  if (missing.debian.length > 0 && debian.canInstall()) {
    await phase('Debian packages', () => debian.install(missing.debian)).catch((error) => {
      failure = error.message;
    });
  }
  if (debian.missingOf(debian.messageBus).length > 0) {
    const commands = debian.commandsFor(debian.messageBus).join(' && ');
    throw new Error(
      `nats-server, the message bus, is not here, and nothing works without it.\nAs root: ${commands}\n${failure}`,
    );
  }
  if (!wantGuests) return undefined;
  const without = debian.missingOf(debian.realGuests).map(({ name }) => name);
  if (without.length > 0) return failure || `${without.join(' and ')} not installed`;
  if (!missing.guest) return undefined;
  return phase('guest image', buildGuestImage).catch((error) => error.message);
}

/**
 * Makes the machine ready. Resolves with the guest image's path, or with why there can be no real guest.
 * Rejects when the platform cannot run at all.
 */
export async function setUp({ wantGuests, wantTestServers }) {
  const missing = lookAround({ wantGuests, wantTestServers });
  const { nodeModules, protos, guest, mongo, python } = missing;
  const nothing = !(nodeModules || protos || guest || mongo || python || missing.debian.length > 0);
  if (!nothing) announce(missing);
  // All are let end before a failure is told: what succeeded need not be done again.
  const outcomes = await Promise.allSettled([
    getPrograms(missing),
    getGuestTools(missing, wantGuests),
    ...(mongo ? [phase('MongoDB server for tests', getMongoServer)] : []),
    ...(python ? [phase('Python packages for tests', getPythonPackages)] : []),
  ]);
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  const noGuests = outcomes[1].value;
  if (!nothing) console.log('');
  return { image: noGuests === undefined ? guestImage() : undefined, noGuests };
}
