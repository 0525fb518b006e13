// Generates TypeScript and the reflection descriptors from proto/nephos, into the git-ignored proto/gen.
// Owner: the tool chain. Skips when no input changed since the last run (content hash in gen/.inputs).
// Everything is made in a folder beside it and moved into place at the end: a crash leaves the old output.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const repo = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const proto = path.join(repo, 'proto');
const gen = path.join(proto, 'gen');
const fresh = path.join(proto, `.gen-fresh-${process.pid}`);
const deps = path.join(proto, '.deps');
const stampFile = path.join(gen, '.inputs');
const googleProtos = path.join(proto, 'node_modules/google-gax/build/protos');

/** Google's contracts that services use even where no file of ours imports them (rich errors, operations). */
const alwaysWanted = [
  'google/longrunning/operations.proto',
  'google/rpc/code.proto',
  'google/rpc/error_details.proto',
  'google/rpc/status.proto',
];

function protoFiles(folder) {
  return fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.proto'))
    .map((entry) => path.join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

function ownProtos() {
  return protoFiles(path.join(proto, 'nephos'));
}

function hashOfInputs(sources) {
  const hash = createHash('sha256');
  const settings = [
    'proto/buf.yaml',
    'proto/buf.gen.yaml',
    'proto/package.json',
    'scripts/generate-protos.mjs',
  ];
  for (const file of [...settings.map((name) => path.join(repo, name)), ...sources]) {
    hash
      .update(`${path.relative(repo, file)}\0`)
      .update(fs.readFileSync(file))
      .update('\0');
  }
  return hash.digest('hex');
}

/** Copies Google's files that ours import, and theirs in turn; google/protobuf is part of buf itself. */
function copyGoogleProtos(sources) {
  const importsOf = (file) =>
    [...fs.readFileSync(file, 'utf8').matchAll(/^import\s+(?:public\s+)?"(google\/[^"]+)";/gm)].map(
      (m) => m[1],
    );
  const wanted = new Set(alwaysWanted);
  for (const file of sources) for (const name of importsOf(file)) wanted.add(name);
  // A Set visits what is added to it while it is walked: this reaches the whole closure.
  for (const name of wanted) {
    if (name.startsWith('google/protobuf/')) continue;
    const from = path.join(googleProtos, name);
    const to = path.join(deps, name);
    fs.mkdirSync(path.dirname(to), { recursive: true });
    fs.copyFileSync(from, to);
    for (const next of importsOf(from)) wanted.add(next);
  }
  for (const file of protoFiles(deps)) if (!wanted.has(path.relative(deps, file))) fs.rmSync(file);
}

function buf(...args) {
  const program = path.join(proto, 'node_modules/@bufbuild/buf/bin/buf');
  // The ts-proto plug-in is started as `node` from PATH: make that the Node which runs this script.
  const PATH = `${path.dirname(process.execPath)}${path.delimiter}${process.env.PATH}`;
  execFileSync(process.execPath, [program, ...args], {
    cwd: proto,
    stdio: 'inherit',
    env: { ...process.env, PATH },
  });
}

/** Whether proto/gen was made from just the inputs that are there now. */
export function protosAreCurrent() {
  return fs.existsSync(stampFile) && fs.readFileSync(stampFile, 'utf8') === hashOfInputs(ownProtos());
}

function generate() {
  const began = performance.now();
  const sources = ownProtos();
  const stamp = hashOfInputs(sources);
  copyGoogleProtos(sources);
  buf('generate', '--output', fresh);
  buf('build', '--output', path.join(fresh, 'gen/descriptors.binpb'));
  fs.writeFileSync(path.join(fresh, 'gen/.inputs'), stamp);
  fs.rmSync(gen, { recursive: true, force: true });
  fs.renameSync(path.join(fresh, 'gen'), gen);
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  console.log(`protos: generated from ${sources.length} files in ${seconds} s`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (protosAreCurrent() && !process.argv.includes('--force')) {
    console.log('protos: unchanged');
  } else {
    try {
      generate();
    } finally {
      fs.rmSync(fresh, { recursive: true, force: true });
    }
  }
}
