#!/usr/bin/env node
/** The command line `nephos`: only the way in. */
import { runCli } from './program.ts';

process.exitCode = await runCli(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  cwd: process.env['INIT_CWD'] ?? process.cwd(),
  onInterrupt: (react) => process.on('SIGINT', react),
});
// Connections that are still open must not keep a command that is done.
process.exit();
