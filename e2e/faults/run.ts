/**
 * Lives of VMs, each operation of which loses a part of the platform to SIGKILL at a chosen step; the part is started
 * again as a supervisor would. Each operation must end, each life must leave a world in order, and at the end the
 * oracle compares every event with the stores.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Operation } from '@nephos/proto/google/longrunning/operations';
import type { Status } from '@nephos/proto/google/rpc/status';
import { systemClock } from '@nephos/service';
import {
  atRest,
  FailpointControl,
  finished,
  type Ground,
  type Hit,
  judge,
  layGround,
  nameOf,
  type Platform,
  type ServiceProcess,
  startPlatformProcesses,
  type Verdict,
} from '@nephos/testing';
import { failpointOf, type Kill, killsOf, type OperationName, type Step, stepsOf } from './places.ts';

/** What became of one operation and the kill at it. */
export interface Outcome extends Kill {
  readonly seed: number;
  /** Whether the place was reached. */
  readonly struck: boolean;
  /** `as asked`, or what became of it instead. */
  readonly ended: string;
  readonly tookMs: number;
}

export interface Report {
  readonly steps: readonly Step[];
  readonly outcomes: readonly Outcome[];
  /** All that is wrong, a line each. */
  readonly problems: readonly string[];
  readonly verdict: Verdict;
}

/** So long may an operation take, whatever is killed. Only one that hangs reaches it, however busy the machine. */
const operationMs = 300_000;

/** Leases and graces short, so that a life is short; no other switch. */
const env = {
  NEPHOS_JOB_LEASE: '2s',
  NEPHOS_JOB_GRACE: '1s',
  NEPHOS_JOB_HEARTBEAT: '300ms',
  NEPHOS_RECONCILE_INTERVAL: '2s',
};

/** Twice the processes share the machine: an owner that is merely slow shall keep its lease. */
const severalEnv = {
  ...env,
  NEPHOS_JOB_LEASE: '5s',
  NEPHOS_JOB_GRACE: '2s',
  NEPHOS_JOB_HEARTBEAT: '500ms',
};

export interface SeedOptions {
  /** Instances of each service, on a store that they share; of the one that stands at the step it is that one that dies. */
  readonly replicas: number;
  /** `mongodb://host:port/prefix`. */
  readonly store: string;
}

export async function runSeeds(
  seeds: readonly number[],
  say: (line: string) => void,
  several?: SeedOptions,
): Promise<Report> {
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(path.join(tmpdir(), 'nephos-faults-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const control = stack.use(await FailpointControl.listen(path.join(folder, 'failpoints')));
  const platform = stack.use(
    await startPlatformProcesses({
      ...several,
      data: path.join(folder, 'data'),
      env: { ...(several ? severalEnv : env), NEPHOS_FAILPOINTS: control.path },
    }),
  );
  const run = new FaultRun(platform, control, await layGround(platform));
  const steps = await run.enumerate();
  const outcomes: Outcome[] = [];
  const problems: string[] = [];
  for (const seed of seeds) {
    const lived = await run.live(seed, killsOf(seed, steps));
    outcomes.push(...lived);
    problems.push(...problemsOf(lived));
    problems.push(...(await atRest(platform)).map((fault) => `seed ${seed}: ${fault}`));
    say(`seed ${seed}: ${lived.map(lineOf).join('; ')}`);
  }
  const verdict = await judge(platform);
  return { steps, outcomes, problems: [...problems, ...verdict.problems], verdict };
}

function lineOf({ operation, step, when, part, ended, tookMs }: Outcome): string {
  return `${operation}, ${part} killed ${when} ${step}: ${ended} in ${tookMs} ms`;
}

function problemsOf(outcomes: readonly Outcome[]): string[] {
  return outcomes.flatMap((outcome) => {
    const { seed, operation, step, when, part, struck, ended } = outcome;
    const place = `seed ${seed}, ${operation} ${when} ${step}, ${part} killed`;
    return [
      ...(struck ? [] : [`${place}: the place was not reached`]),
      ...(ended === 'as asked' ? [] : [`${place}: the operation ended with ${ended}`]),
    ];
  });
}

class FaultRun {
  readonly #platform: Platform<ServiceProcess>;
  readonly #control: FailpointControl;
  readonly #ground: Ground;

  constructor(platform: Platform<ServiceProcess>, control: FailpointControl, ground: Ground) {
    this.#platform = platform;
    this.#control = control;
    this.#ground = ground;
  }

  /** The steps of an undisturbed life. */
  async enumerate(): Promise<Step[]> {
    this.#control.reset();
    await this.live(-1, []);
    return stepsOf(this.#control.hits);
  }

  async live(seed: number, kills: readonly Kill[]): Promise<Outcome[]> {
    const { api } = this.#platform;
    const outcomes: Outcome[] = [];
    const strike = async (operation: OperationName, verb: () => Promise<Operation>): Promise<void> => {
      const kill = kills.find((each) => each.operation === operation);
      const outcome = await this.#struck(kill, verb, operation === 'cancelled create');
      if (kill) outcomes.push({ ...kill, seed, ...outcome });
    };
    await strike('create', () => this.#create(`seed-${seed}`));
    const name = await this.#find(`seed-${seed}`);
    await strike('stop', () => api.vms.stopVm({ name }));
    await strike('delete', () => api.vms.deleteVm({ name }));
    await strike('expunge', () => api.vms.expungeVm({ name }));
    await strike('cancelled create', () => this.#create(`cancelled-${seed}`));
    await finished(api, await api.vms.expungeVm({ name: await this.#find(`cancelled-${seed}`) }));
    return outcomes;
  }

  #create(displayName: string): Promise<Operation> {
    const { zone, template } = this.#ground;
    const spec = { vcpus: 1, memoryBytes: 2n ** 27n, template };
    return this.#platform.api.vms.createVm({ vm: { header: { displayName, zone }, spec } });
  }

  async #find(displayName: string): Promise<string> {
    const filter = `display_name = "${displayName}"`;
    return nameOf((await this.#platform.api.vms.listVms({ filter, showDeleted: true })).vms[0]);
  }

  /** One operation, with a kill on its way. Returns once it ended and the part is back. */
  async #struck(kill: Kill | undefined, verb: () => Promise<Operation>, cancelled: boolean) {
    const began = systemClock.monotonic();
    const asked = Promise.withResolvers<Operation>();
    let back: Promise<void> | undefined;
    if (kill) {
      this.#control.reset();
      this.#control.add({
        ...failpointOf(kill),
        nth: 1,
        action: async (hit) => {
          back = this.#killAndRestart(kill, hit);
          back.catch(() => undefined);
          if (!kill.meanwhile) await back;
          return 'go' as const;
        },
      });
    }
    if (cancelled) this.#cancelLate(asked.promise);
    const ended = await this.#end(async () => {
      const operation = await verb();
      asked.resolve(operation);
      return operation;
    });
    const tookMs = Math.round(systemClock.monotonic() - began);
    await back;
    const expected = cancelled ? 'cancelled' : 'ok';
    return { struck: back !== undefined, ended: ended === expected ? 'as asked' : ended, tookMs };
  }

  /** Cancels a create once its machine was started: all of it is to be undone. */
  #cancelLate(asked: Promise<Operation>): void {
    this.#control.add({
      point: 'job.step.after',
      facts: { job: 'vm.create', step: 'start' },
      nth: 1,
      action: async () => {
        await this.#platform.api.operations.cancelOperation({ name: (await asked).name });
        return 'error' as const;
      },
    });
  }

  /** `ok`, `cancelled`, the message of a failure, or that it did not end. */
  async #end(verb: () => Promise<Operation>): Promise<string> {
    const late = AbortSignal.timeout(operationMs);
    const { api } = this.#platform;
    const over = new Promise<string>((resolve) =>
      late.addEventListener('abort', () => resolve(`nothing within ${operationMs} ms`), { once: true }),
    );
    const done = verb()
      .then((operation) => finished(api, operation))
      .then(({ result }) => (result?.$case === 'error' ? outcomeOf(result.value) : 'ok'));
    return await Promise.race([done, over]);
  }

  async #killAndRestart({ part, downMs }: Kill, { pid }: Hit): Promise<void> {
    const { nats, replicas, services } = this.#platform;
    if (part === 'nats-server') {
      await nats.kill();
      await systemClock.sleep(downMs);
      return await again(() => nats.restart());
    }
    const instance = replicas[part].find((each) => each.pid === pid) ?? services[part];
    await instance.kill();
    await systemClock.sleep(downMs);
    await again(() => instance.start());
  }
}

/** google.rpc.Code. */
const cancelledCode = 1;

function outcomeOf({ code, message }: Status): string {
  return code === cancelledCode ? 'cancelled' : message;
}

const starts = 5;

/** As a supervisor does with what does not come up. */
async function again(start: () => Promise<void>): Promise<void> {
  for (let made = 1; ; made += 1) {
    try {
      return await start();
    } catch (error) {
      if (made === starts) throw error;
      await systemClock.sleep(500);
    }
  }
}
