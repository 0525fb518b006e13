// Runs a program for the set-up: its output goes to a log under .cache/setup, its end is quoted on failure.
// Owner: the tool chain. The child shares our process group, so that Ctrl-C in a terminal reaches it too.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const repo = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
export const cache = path.join(repo, '.cache');
const logs = path.join(cache, 'setup');

function lastLines(file, count) {
  return fs.readFileSync(file, 'utf8').trimEnd().split('\n').slice(-count).join('\n');
}

/**
 * Resolves with what the program wrote to stdout; rejects with the end of its log when it fails, or after
 * `longestMs` (0: it may take as long as it likes).
 */
export function run(command, args, { log, env = {}, longestMs = 0 }) {
  fs.mkdirSync(logs, { recursive: true });
  const logFile = path.join(logs, log);
  const out = fs.openSync(logFile, 'a');
  fs.writeSync(out, `\n$ ${[command, ...args].join(' ')}\n`);
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: repo,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', out],
      timeout: longestMs,
    });
    let stdout = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text;
      fs.writeSync(out, text);
    });
    child.on('error', (error) => {
      fs.closeSync(out);
      reject(new Error(`${command} cannot be run: ${error.message}`));
    });
    child.on('close', (code, signal) => {
      fs.closeSync(out);
      if (code === 0) return resolve(stdout);
      const what = `${command} ${args[0] ?? ''} ended with ${signal ?? code}`;
      reject(new Error(`${what}; the end of ${path.relative(repo, logFile)}:\n${lastLines(logFile, 20)}`));
    });
  });
}
