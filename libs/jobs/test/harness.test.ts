/** The saga harnesses, run over a job that is right and over jobs that are wrong in one way each. */
import { describe, expect, test } from '@jest/globals';
import { newUid, Unavailable } from '@nephos/service';
import { defineJob, type JobContext } from '../src/index.ts';
import { crashEachStep, failEachStep, MemoryJob, repeatEachStep, type World } from '../src/testing/index.ts';

/** A shelf of things with owners: what a subsystem keeps. */
class Shelf {
  readonly things = new Map<string, string>();
  made = 0;

  async put(id: string, what: string): Promise<string> {
    await Promise.resolve();
    if (!this.things.has(id)) this.made += 1;
    this.things.set(id, what);
    return id;
  }

  async take(id: string): Promise<void> {
    await Promise.resolve();
    this.things.delete(id);
  }
}

interface Faults {
  readonly mintOutside?: boolean;
  readonly forgetUndo?: boolean;
  readonly trustResult?: boolean;
}

function jobWith(faults: Faults) {
  return defineJob({
    type: 'shelf.fill',
    version: 1,
    timeoutMs: 60_000,
    retry: { attempts: 3, backoffMs: 1 },
    async run(job: JobContext<{ readonly what: string }>, shelf: Shelf) {
      // Right: minted in a step, so that every replay has the same ids.
      const id = faults.mintOutside === true ? newUid() : await job.step('mint', async () => newUid());
      await job.step('disk', async () => await shelf.put(`disk-${id}`, job.input.what), {
        input: { id },
        undo: async (input: { id: string }, result: string | undefined) => {
          if (faults.trustResult === true && result === undefined) return;
          await shelf.take(`disk-${input.id}`);
        },
      });
      await job.step('nic', async () => await shelf.put(`nic-${id}`, job.input.what), {
        ...(faults.forgetUndo !== true && { undo: async () => await shelf.take(`nic-${id}`) }),
      });
      await job.step('go', async () => await shelf.put(`vm-${id}`, 'running'));
      return { id };
    },
  });
}

function makeWorld(): World<{ what: string }, Shelf> {
  const deps = new Shelf();
  return {
    deps,
    input: { what: 'ssd' },
    leaks: () => [...deps.things.keys()],
    faults: () => (deps.things.size === 3 && deps.made === 3 ? [] : [`${deps.made} things were made`]),
  };
}

describe('a job that keeps the rules', () => {
  const job = jobWith({});

  test('takes every step twice', async () => {
    const runs = await repeatEachStep(job, makeWorld);
    expect(runs.map(({ ended }) => ended.state)).toEqual(Array(3).fill('succeeded').concat('succeeded'));
  });

  test('leaks nothing when any step fails', async () => {
    const runs = await failEachStep(job, makeWorld);
    expect(runs).toHaveLength(3 + 6 + 6 + 3);
    const nic = runs.find(({ place }) => place === 'nic failing after its effect, undone smoothly');
    expect(nic?.trace).toEqual(['mint', 'disk', 'nic', 'nic/undo', 'disk/undo']);
  });

  test('survives its process at every step, forwards and backwards', async () => {
    const runs = await crashEachStep(job, makeWorld);
    const states = runs.map(({ ended }) => ended.state);
    expect(states.filter((state) => state === 'succeeded')).toHaveLength(8);
    expect(states.filter((state) => state === 'cancelled')).toHaveLength(6);
  });
});

describe('a job that breaks a rule is caught', () => {
  test('ids minted outside of a step', async () => {
    await expect(crashEachStep(jobWith({ mintOutside: true }), makeWorld)).rejects.toThrow(
      /things were made/,
    );
  });

  test('an undo that was forgotten', async () => {
    const forgetful = jobWith({ forgetUndo: true });
    await expect(failEachStep(forgetful, makeWorld)).rejects.toThrow(/go failing before its effect.*nic-/);
  });

  test('an undo that trusts a result it may not have', async () => {
    await expect(failEachStep(jobWith({ trustResult: true }), makeWorld)).rejects.toThrow(
      /disk failing after/,
    );
  });
});

test('an error that may pass is tried again and never seen by the author', async () => {
  let tries = 0;
  const flaky = defineJob({
    type: 'shelf.flaky',
    version: 1,
    timeoutMs: 60_000,
    retry: { attempts: 3, backoffMs: 1 },
    async run(job: JobContext<object>, shelf: Shelf) {
      try {
        await job.step('once', async () => {
          tries += 1;
          if (tries < 3) throw new Unavailable('SERVICE_UNAVAILABLE', 'not now');
          await shelf.put('thing', 'x');
        });
      } catch {
        await shelf.put('seen', 'by the author');
      }
    },
  });
  const deps = new Shelf();
  const ended = await new MemoryJob(flaky, {}, { deps }).run();
  expect(ended.state).toBe('succeeded');
  expect([...deps.things.keys()]).toEqual(['thing']);
});
