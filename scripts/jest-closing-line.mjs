// A jest reporter that says the outcome in few lines at the end: what failed, a line or three a test, so that a log
// that was cut still tells it; then one plain line, the very last: `N passed, N failed[, N skipped]`.
// Owner: the tool chain. A test file that cannot even be loaded counts as one failure, and so does a run that
// leaves something open (a server, a child process): jest would wait for it for ever, this ends the run.
import path from 'node:path';
import { stripVTControlCharacters } from 'node:util';

const patienceMs = 10_000;
const mostOfMessage = 300;

function shortened(text) {
  const lines = stripVTControlCharacters(text).split('\n');
  const telling = lines.map((line) => line.trim()).filter((line) => !/^(at .*)?$/.test(line));
  return telling.join(' | ').slice(0, mostOfMessage);
}

/** A line a failed test, and one a file that could not be run. */
function failuresOf({ testResults }) {
  return testResults.flatMap(({ testFilePath, testExecError, testResults: tests }) => {
    const file = path.relative(process.cwd(), testFilePath);
    const failed = tests.filter(({ status }) => status === 'failed');
    const lines = failed.map(
      (test) => `${file} › ${test.fullName}: ${shortened(test.failureMessages[0] ?? '')}`,
    );
    return testExecError ? [`${file}: ${shortened(testExecError.message)}`, ...lines] : lines;
  });
}

function say(passed, failed, skipped) {
  process.stdout.write(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`);
}

export default class ClosingLine {
  onRunComplete(_contexts, results) {
    const passed = results.numPassedTests;
    const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
    const skipped = results.numPendingTests + results.numTodoTests;
    // jest's default reporter writes to stderr: once that is flushed, ours follows on stdout.
    process.stderr.write('', () => {
      for (const line of failuresOf(results)) process.stdout.write(`failed: ${line}\n`);
      say(passed, failed, skipped);
    });
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
