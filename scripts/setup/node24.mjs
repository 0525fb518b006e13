// Finds Node 24 (the repository's own from npm, or the running one) and runs the program with it.
// Owner: the tool chain. The program stays in our process group and we wait for it: its exit code is ours.
// It must take a repeated signal for one: a terminal or a supervisor may signal the whole group, and us, who
// hand the signal on.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pathWithServers } from './debian-packages.mjs';
import { repo } from './run.mjs';

export function findNode24() {
  const own = path.join(repo, 'node_modules', `node-linux-${process.arch}`, 'bin/node');
  if (fs.existsSync(own)) return own;
  if (Number.parseInt(process.versions.node, 10) >= 24) return process.execPath;
  throw new Error(
    `Nephos needs Node 24, and npm has none for ${process.platform} ${process.arch}: install it and start again`,
  );
}

/** Resolves with the exit code of the program, as a shell would tell it. */
export function runNode24(args, env = {}) {
  const node = findNode24();
  const PATH = `${path.dirname(node)}${path.delimiter}${pathWithServers}`;
  const child = spawn(node, ['--disable-warning=ExperimentalWarning', ...args], {
    cwd: repo,
    env: { ...process.env, ...env, PATH },
    stdio: 'inherit',
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      // At a terminal, Ctrl-C and hanging up have reached the child by themselves.
      if (signal === 'SIGTERM' || !process.stdin.isTTY) child.kill(signal);
    });
  }
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code, signal) => resolve(code ?? 128 + (os.constants.signals[signal] ?? 0)));
  });
}
