// How jest runs here: Node strips the types itself, tests are native ES modules, nothing is transformed.
// Owner: the tool chain. Two workers, since the machine this is sized for has two cores.
import { existsSync } from 'node:fs';
import path from 'node:path';

const folders = ['libs', 'services', 'cli', 'deploy', 'e2e', 'scripts'];

// What Node made of the sources before, for the store's writer threads and for programs that tests start: each would
// else read and strip them anew.
process.env['NODE_COMPILE_CACHE'] ??= path.join(import.meta.dirname, '.cache/compile');

export default {
  rootDir: import.meta.dirname,
  roots: folders
    .map((folder) => path.join(import.meta.dirname, folder))
    .filter((folder) => existsSync(folder)),
  testMatch: ['**/test/**/*.test.ts', '<rootDir>/e2e/**/*.test.ts'],
  testEnvironment: 'node',
  transform: {},
  extensionsToTreatAsEsm: ['.ts'],
  moduleFileExtensions: ['ts', 'mjs', 'js', 'json', 'node'],
  // A global is looked up in the test's context through native code, some 200 ns each time. The Ed25519 of the NATS
  // client's keys asks for these some million times a platform: it takes them as arguments instead.
  sandboxInjectedGlobals: ['Math', 'Float64Array'],
  maxWorkers: 2,
  testSequencer: '<rootDir>/scripts/jest-longest-first.mjs',
  // Only a bound against a hang: real guests boot within it even where the CPU is emulated and shared.
  testTimeout: 120_000,
  reporters: ['default', '<rootDir>/scripts/jest-closing-line.mjs'],
};
