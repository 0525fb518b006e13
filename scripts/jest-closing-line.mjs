// A jest reporter that says the outcome in one plain line, the very last: `N passed, N failed[, N skipped]`.
// Owner: the tool chain. A test file that cannot even be loaded counts as one failure.
export default class ClosingLine {
  onRunComplete(_contexts, results) {
    const passed = results.numPassedTests;
    const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
    const skipped = results.numPendingTests + results.numTodoTests;
    // jest's default reporter writes to stderr: once that is flushed, ours follows on stdout.
    process.stderr.write('', () => {
      process.stdout.write(
        `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`,
      );
    });
  }
}
