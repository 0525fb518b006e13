/**
 * Two instances of every service on one MongoDB server, restarted one after the other under a steady load: no call
 * fails, no event is lost, comes twice or out of order, and every operation ends as asked. `pnpm rolling` does the
 * same with processes, and with SIGKILL.
 */
import { expect, test } from '@jest/globals';
import { onMongo } from '@nephos/store/testing/on-mongo';
import { replicated } from './rolling/rollout.ts';
import { runRolling, tell, withoutOneEvent } from './rolling/run.ts';

await onMongo((server) => {
  test(`a rolling restart of every service on ${server.name} fails no call and loses no event`, async () => {
    const report = await runRolling({ store: server.fresh(), how: 'drain', processes: false });
    process.stdout.write(`\n${tell(report)}\n\n`);
    const { restarts, counts, verdict, unseen } = report;
    expect(counts.failures).toEqual([]);
    expect(counts.misended).toEqual([]);
    expect(counts.disorder).toEqual([]);
    expect(verdict.problems).toEqual([]);
    expect(unseen).toEqual([]);
    expect(restarts).toBe(2 * replicated.length);
    expect(counts.lives).toBeGreaterThan(0);
    expect(counts.watched).toBe(counts.handled);
    // The control: had one event not reached the broker, it would have been told.
    const { uid, problems } = withoutOneEvent(verdict);
    expect(problems).toEqual([expect.stringContaining(uid)]);
  }, 900_000);
});
