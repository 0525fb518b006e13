// A jest reporter that says the outcome in one plain line, the very last: `N passed, N failed[, N skipped]`.
// Owner: the tool chain. A test file that cannot even be loaded counts as one failure, and so does a run that
// leaves something open (a server, a child process): jest would wait for it for ever, this ends the run.
const patienceMs = 10_000;

function say(passed, failed, skipped) {
  process.stdout.write(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`);
}

export default class ClosingLine {
  onRunComplete(_contexts, results) {
    const passed = results.numPassedTests;
    const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
    const skipped = results.numPendingTests + results.numTodoTests;
    // jest's default reporter writes to stderr: once that is flushed, ours follows on stdout.
    process.stderr.write('', () => say(passed, failed, skipped));
    // Fires only if something still keeps the process alive by then.
    setTimeout(() => {
      process.stderr.write(
        '\nThe tests ended and left something open: a server or a child process runs on.\n',
      );
      say(passed, failed + 1, skipped);
      process.exit(1);
    }, patienceMs).unref();
  }
}
