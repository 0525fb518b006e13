/**
 * What the planner knows of a host and of a request. Views are kept in memory from events and resynced; they
 * may be stale, so a plan is a proposal and only the claim counts.
 */

export interface HostView {
  readonly uid: string;
  readonly displayName: string;
  readonly zone: string;
  readonly architecture: string;
  readonly link: 'connecting' | 'up' | 'silent' | 'disconnected';
  readonly admin: 'enabled' | 'cordoned' | 'draining' | 'drain-blocked' | 'maintenance' | 'removed';
  readonly health: 'healthy' | 'suspect' | 'fencing' | 'fenced' | 'recovering';
  /** What may be placed, overcommit applied. */
  readonly total: Amounts;
  /** What is left of it. */
  readonly free: Amounts;
}

/** Virtual CPUs, and bytes of memory and local disk. */
export interface Amounts {
  readonly vcpus: number;
  readonly memoryBytes: number;
  readonly diskBytes: number;
}

export interface PlanRequest {
  readonly vmUid: string;
  readonly zone: string;
  readonly needs: Amounts;
  /** Empty for any. */
  readonly architecture: string;
  /** Uid of the only host allowed: where its volume lies, or where the user wants it. */
  readonly onlyHost?: string;
  /** Uids of hosts that refused already. */
  readonly excludedHosts: ReadonlySet<string>;
  readonly maxCandidates: number;
}

export interface Plan {
  /** Best first. */
  readonly candidates: readonly { readonly hostUid: string; readonly score: number }[];
  /** Why hosts were rejected, most frequent first. Empty when there are candidates enough. */
  readonly rejections: readonly { readonly reason: string; readonly hosts: number }[];
  /** Hosts looked at. */
  readonly considered: number;
  /** For people: the host that came nearest and what it lacks. Empty when there are candidates. */
  readonly closestMiss: string;
}
