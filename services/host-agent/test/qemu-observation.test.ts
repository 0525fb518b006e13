/** What QEMU's words are taken to mean. */
import { expect, test } from '@jest/globals';
import { seenGone, seenInRunState } from '../src/domain/qemu/observation.ts';

test.each([
  ['running', undefined, 'running', 'requested'],
  ['shutdown', undefined, 'powered-off', 'guest'],
  ['shutdown', 'requested', 'powered-off', 'requested'],
  ['shutdown', 'host-shutdown', 'powered-off', 'host-shutdown'],
  ['guest-panicked', undefined, 'paused', 'guest'],
  ['io-error', undefined, 'paused', 'none'],
  ['internal-error', undefined, 'paused', 'crashed'],
  ['prelaunch', undefined, 'paused', 'none'],
  ['a state of a later QEMU', undefined, 'unknown', 'none'],
] as const)('%s, asked for: %s', (runState, ending, state, cause) => {
  expect(seenInRunState(runState, ending)).toMatchObject({ state, cause });
});

test.each([
  [{ ending: 'requested' }, 'requested'],
  [{ ending: 'host-shutdown', shutdownReason: 'host-qmp-quit' }, 'host-shutdown'],
  [{ shutdownReason: 'host-signal' }, 'host-shutdown'],
  [{ shutdownReason: 'host-qmp-quit' }, 'none'],
  [{ exit: 'signal SIGKILL' }, 'crashed'],
  [{ shutdownReason: 'guest-shutdown', exit: 'exit code 1' }, 'crashed'],
  [{}, 'crashed'],
] as const)('gone with %j', (facts, cause) => {
  const unknown = { ending: undefined, shutdownReason: undefined, exit: undefined, lastWords: '' };
  const seen = seenGone({ ...unknown, ...facts });
  expect(seen).toMatchObject({ state: 'gone', cause });
});
