// A server for tests that need MongoDB: looks for one, else gets one that speaks its wire protocol, into .cache:
// FerretDB where Go is, mongo-java-server where Maven is. libs/store/src/testing/mongo-server.ts starts it.
// Owner: the tool chain. Never fails a set-up: without a server those tests say so. A stamp, written last, holds
// what was done for which inputs, so that neither success nor refusal is looked for twice.
import fs from 'node:fs';
import path from 'node:path';
import { hasCommand } from './debian-packages.mjs';
import { cache, repo, run } from './run.mjs';

const ferretdb = 'github.com/FerretDB/FerretDB/cmd/ferretdb@v1.24.1';
const source = path.join(repo, 'scripts/setup/mongo-java-server');
const folder = path.join(cache, 'mongo-server');
const stampFile = path.join(folder, '.current');
const longest = { go: 240_000, maven: 240_000, javac: 60_000 };

function inputs() {
  const files = ['pom.xml', 'Server.java'].map((name) => fs.readFileSync(path.join(source, name), 'utf8'));
  return [ferretdb, hasCommand('go'), hasCommand('mvn'), hasCommand('javac'), ...files].join('\n');
}

/** Whether there is something to get. */
export function mongoServerIsWanted() {
  if ((process.env.MONGODB_URL ?? '') !== '' || hasCommand('mongod') || hasCommand('ferretdb')) return false;
  if (!hasCommand('go') && !(hasCommand('mvn') && hasCommand('javac'))) return false;
  return !fs.existsSync(stampFile) || fs.readFileSync(stampFile, 'utf8') !== inputs();
}

async function buildFerretDb() {
  if (!hasCommand('go')) throw new Error('Go is not here');
  const bin = path.join(folder, 'ferretdb');
  const env = { GOBIN: bin, CGO_ENABLED: '0' };
  await run('go', ['install', ferretdb], { log: 'mongo-server.log', env, longestMs: longest.go });
}

async function buildJavaServer() {
  if (!hasCommand('mvn') || !hasCommand('javac')) throw new Error('Maven and a JDK are not here');
  const lib = path.join(folder, 'java/lib');
  const log = 'mongo-server.log';
  const copy = ['-q', '-B', '-f', path.join(source, 'pom.xml'), 'dependency:copy-dependencies'];
  await run('mvn', [...copy, `-DoutputDirectory=${lib}`], { log, longestMs: longest.maven });
  const classes = path.join(folder, 'java/classes');
  const compile = ['-cp', path.join(lib, '*'), '-d', classes, path.join(source, 'Server.java')];
  await run('javac', compile, { log, longestMs: longest.javac });
}

/** Resolves in any case; what went wrong is told and lies in the log. */
export async function getMongoServer() {
  // What lies there may be running: it is only added to.
  fs.rmSync(stampFile, { force: true });
  fs.mkdirSync(folder, { recursive: true });
  const problems = [];
  for (const build of [buildFerretDb, buildJavaServer]) {
    try {
      await build();
      problems.length = 0;
      break;
    } catch (error) {
      problems.push(error.message.split('\n')[0]);
    }
  }
  if (problems.length > 0) console.log(`  no MongoDB server for tests: ${problems.join('; ')}`);
  fs.writeFileSync(stampFile, inputs());
}
