/**
 * A platform with two instances of every service, a steady load on it, and each instance in turn taken down and up
 * again; then the oracle over everything. `drain`: as an operator does it; `kill`: with SIGKILL, as a machine does.
 */
import {
  judge,
  judgeEvents,
  layGround,
  type Platform,
  type PlatformService,
  type ServiceName,
  type ServiceProcess,
  startPlatform,
  startPlatformProcesses,
  type Verdict,
} from '@nephos/testing';
import { type Counts, Load, type LoadOptions } from './load.ts';
import { inService, replicated, rollOut } from './rollout.ts';

export interface RollingOptions {
  /** `mongodb://host:port/prefix`, of this run alone. */
  readonly store: string;
  readonly how: 'drain' | 'kill';
  /** Each instance a process of its own; needed to kill. */
  readonly processes: boolean;
  readonly load?: LoadOptions;
  readonly rounds?: number;
  /** Default: all that have several instances. */
  readonly services?: readonly ServiceName[];
  readonly say?: (line: string) => void;
}

export interface RollingReport {
  readonly restarts: number;
  readonly counts: Counts;
  readonly verdict: Verdict;
  /** VMs of which a reader did not see the last event. */
  readonly unseen: readonly string[];
}

/** Leases and graces short, so that a killed owner is soon followed; no other switch. */
const shortLeases = { NEPHOS_JOB_LEASE: '3s', NEPHOS_JOB_GRACE: '1s', NEPHOS_JOB_HEARTBEAT: '500ms' };

export async function runRolling(options: RollingOptions): Promise<RollingReport> {
  const { store, how, rounds = 1 } = options;
  if (how === 'drain') {
    const start = options.processes ? startPlatformProcesses : startPlatform;
    await using platform = await start({ replicas: 2, store });
    return await run(platform, options, rounds, (instance) => instance.stop());
  }
  await using platform = await startPlatformProcesses({ replicas: 2, store, env: shortLeases });
  return await run(platform, options, rounds, (instance) => instance.kill());
}

async function run<S extends PlatformService | ServiceProcess>(
  platform: Platform<S>,
  { load: loadOptions, services = replicated, say = () => undefined }: RollingOptions,
  rounds: number,
  down: (instance: S) => Promise<void>,
): Promise<RollingReport> {
  const ground = await layGround(platform);
  for (const service of replicated) await inService(platform, service);
  await using load = new Load(platform, ground, loadOptions);
  await load.start();
  let restarts = 0;
  for (let round = 0; round < rounds; round += 1) {
    for (const service of services) {
      restarts += await rollOut(platform, service, down);
      say(`round ${round}: ${service} is back`);
    }
  }
  const counts = await load.stop();
  const verdict = await judge(platform);
  return { restarts, counts, verdict, unseen: unseen(counts, verdict) };
}

/** What every VM's store counted is what both readers saw last. */
function unseen({ lastHandled, lastWatched }: Counts, { counters }: Verdict): string[] {
  return counters
    .filter(({ entity }) => entity === 'vms')
    .filter(({ uid, eventSeq }) => lastHandled.get(uid) !== eventSeq || lastWatched.get(uid) !== eventSeq)
    .map(
      ({ uid, eventSeq }) =>
        `vms/${uid}: ${eventSeq} events, ${lastHandled.get(uid)} handled, ${lastWatched.get(uid)} watched`,
    );
}

/** The verdict, had one event of one VM not reached the broker. */
export function withoutOneEvent({ seen, counters }: Verdict): {
  readonly uid: string;
  readonly problems: readonly string[];
} {
  const lost = seen.find(({ entity }) => entity === 'vm');
  const rest = seen.filter((event) => event.uid !== lost?.uid || event.sequence !== lost.sequence);
  return { uid: lost?.uid ?? '', problems: judgeEvents(rest, counters).problems };
}

export function tell({ restarts, counts, verdict, unseen: missed }: RollingReport): string {
  const { total, failures, lives, misended, reconnects, handled, watched, disorder } = counts;
  const { entities, events, repeats, pending, problems } = verdict.events;
  return [
    `${restarts} restarts under ${total} calls: ${failures.length} failed; ${reconnects} streams reopened`,
    `${lives} lives of VMs: ${misended.length} operations ended otherwise than asked`,
    `${events} events of ${entities} entities: ${problems.length} lost or out of order, ${repeats} repeats dropped, ${pending} pending`,
    `${handled} events handled, ${watched} watched: ${disorder.length} out of order, ${missed.length} VMs not seen to the end`,
    `calls: ${JSON.stringify(counts.calls)}`,
  ].join('\n');
}
