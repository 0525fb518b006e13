/**
 * What instances of job control ask of each other: to take submissions, and to show jobs with what only their
 * memory knows. A peer that does not answer soon is left out: then the record in the store is what is shown.
 */
import type { Job } from '@nephos/proto/nephos/jobs/v1/jobs';
import { JobPeerServiceDefinition } from '@nephos/proto/nephos/jobs/v1/peers';
import { type Call, type Clients, Exhausted, type Implementation } from '@nephos/service';
import type { Stored } from '@nephos/store';
import type { Owner } from '../adapters/partitions.ts';
import { isOver, type JobRecord } from '../domain/record.ts';
import type { JobTable } from '../scheduling/job-table.ts';
import { PeerSubmissions } from './peer-submissions.ts';
import { isForwarded } from './router.ts';

const patienceMs = 1000;
const mostShown = 1000;

export interface PeersOptions {
  readonly instance: string;
  readonly clients: Clients;
  readonly ownerOf: (partition: number) => Owner | undefined;
}

export class Peers implements Disposable {
  readonly submissions: PeerSubmissions;
  readonly #options: PeersOptions;

  constructor(options: PeersOptions) {
    this.#options = options;
    this.submissions = new PeerSubmissions(options.instance);
  }

  /** Those of the jobs that others own, as they show them. */
  async show(jobs: readonly Stored<JobRecord>[], call: Call): Promise<Job[]> {
    if (isForwarded(call)) return [];
    const byAddress = new Map<string, string[]>();
    for (const { id, value } of jobs) {
      const owner = isOver(value) ? undefined : this.#options.ownerOf(value.partition);
      if (owner === undefined) continue;
      byAddress.set(owner.address, [...(byAddress.get(owner.address) ?? []), id]);
    }
    const asked = [...byAddress].map(([address, uids]) => this.#ask(address, uids));
    return (await Promise.all(asked)).flat();
  }

  [Symbol.dispose](): void {
    this.submissions[Symbol.dispose]();
  }

  async #ask(address: string, uids: readonly string[]): Promise<Job[]> {
    const peer = this.#options.clients.of(JobPeerServiceDefinition, address, { service: 'job-control' });
    try {
      return (await peer.showJobs({ uids }, { deadlineMs: patienceMs })).jobs;
    } catch {
      return [];
    }
  }
}

export function peerApi(table: JobTable): Implementation<JobPeerServiceDefinition> {
  return {
    showJobs({ uids }) {
      if (uids.length > mostShown)
        throw new Exhausted('LIMIT_REACHED', `at most ${mostShown} jobs are shown`);
      const live = uids.map((uid) => table.live.get(uid)).filter((job) => job !== undefined);
      return Promise.resolve({ jobs: live.map(({ stored }) => table.show(stored)) });
    },
  };
}
