/**
 * A lock at the broker, for what one process alone may do there: a stream in memory that nobody can make a second
 * time, since each process would describe it otherwise.
 * Owner: whoever made it. A crash leaves it; who has seen the same one for long enough removes it.
 */
import { JetStreamApiCodes, JetStreamApiError, type JetStreamManager } from '@nats-io/jetstream';
import { type Clock, newUid } from '@nephos/service';

const name = 'NEPHOS_MENDING';
const lookMs = 200;
/** Longer than anything done under it takes. */
const abandonedMs = 30_000;
/** What the broker says of a stream that exists with another configuration. */
const nameInUse = 10058;

interface Locksmith {
  readonly jsm: JetStreamManager;
  readonly clock: Clock;
  /** Copies of the lock. */
  readonly replicas: number;
}

/** Throws what the work or the broker threw. */
export async function whileAlone(
  { jsm, clock, replicas }: Locksmith,
  work: () => Promise<void>,
): Promise<void> {
  let seen: { readonly owner: string; readonly since: number } | undefined;
  while (!(await take(jsm, replicas))) {
    const owner = await ownerOf(jsm);
    const now = clock.monotonic();
    if (owner !== seen?.owner) seen = { owner, since: now };
    if (seen && now - seen.since > abandonedMs) await letGo(jsm);
    await clock.sleep(lookMs);
  }
  try {
    await work();
  } finally {
    await letGo(jsm);
  }
}

async function take(jsm: JetStreamManager, replicas: number): Promise<boolean> {
  const description = newUid();
  const kept = { storage: 'memory', num_replicas: replicas } as const;
  try {
    await jsm.streams.add({ name, subjects: ['nephos-mending'], ...kept, description });
    return true;
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === nameInUse) return false;
    throw error;
  }
}

/** Empty where the broker cannot say, as of a lock whose servers are down. */
async function ownerOf(jsm: JetStreamManager): Promise<string> {
  try {
    return (await jsm.streams.info(name)).config.description ?? '';
  } catch (error) {
    if (error instanceof JetStreamApiError) return '';
    throw error;
  }
}

async function letGo(jsm: JetStreamManager): Promise<void> {
  try {
    await jsm.streams.delete(name);
  } catch (error) {
    if (!(error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound)) throw error;
  }
}
