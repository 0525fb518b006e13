/**
 * Where a service takes calls, asked of the directory with patience: in a restart there may be no instance of it, and
 * no directory, for a moment.
 */
import type { DirectoryServiceDefinition } from '@nephos/proto/nephos/directory/v1/directory_service';
import { type Client, type Clock, retry, Unavailable } from '@nephos/service';

export interface Patience {
  /** The directory's, to name it in an error. */
  readonly address: string;
  readonly clock: Clock;
  readonly patienceMs: number;
}

/** A gRPC target of all instances that take calls. Throws `Unavailable` when there is none, or no directory. */
export async function locate(
  directory: Client<typeof DirectoryServiceDefinition>,
  service: string,
  { address, clock, patienceMs }: Patience,
): Promise<string> {
  const over = new AbortController();
  using _ends = clock.timer(patienceMs, () => over.abort());
  const { signal } = over;
  let last = new Unavailable(
    'SERVICE_UNAVAILABLE',
    `the directory at ${address} lists no ${service} that takes calls; waited up to ${patienceMs / 1000} s for one`,
  );
  const serving = async (): Promise<string> => {
    for await (const { update } of directory.watchInstances({ selector: { service } }, { signal })) {
      if (update?.$case !== 'list' || update.value.instances.length === 0) continue;
      return `ipv4:${update.value.instances.map((each) => each.address).join(',')}`;
    }
    throw last;
  };
  const when = (error: unknown): boolean => {
    if (signal.aborted || !(error instanceof Unavailable)) return false;
    last = error;
    return true;
  };
  try {
    const backoff = { firstMs: 100, maxMs: 500 };
    return await retry(serving, { attempts: Infinity, backoff, signal, clock, when });
  } catch (error) {
    throw signal.aborted ? last : error;
  }
}
