/**
 * Where the directory is found before anything is known: the addresses of NEPHOS_DIRECTORY. Names are looked up
 * and every address of theirs, IPv4 and IPv6, is used; looked up again each few seconds, since replicas behind a name
 * (a headless service of Kubernetes) come and go while the old ones are well. Addresses of one name in any order are
 * the same. A lookup that fails keeps the addresses of the one before.
 */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { type Address, type Clock, formatAddress, hostAndPort } from '@nephos/service';

/** As long as Kubernetes lets its names be remembered. */
const refreshMs = 5000;
const shortestPauseMs = 1000;

export class Seeds implements Disposable {
  readonly #seeds: readonly Address[];
  readonly #clock: Clock;
  readonly #found = new Map<string, readonly string[]>();
  readonly #listeners = new Set<() => void>();
  readonly #refreshing: Disposable | undefined;
  #lastLookup = Number.NEGATIVE_INFINITY;

  /** Throws an Error that says what is wrong with a seed. */
  constructor(seeds: readonly string[], clock: Clock) {
    this.#seeds = seeds.map(hostAndPort);
    this.#clock = clock;
    if (this.#names().length > 0) {
      this.refresh();
      this.#refreshing = clock.every(refreshMs, () => this.refresh());
    }
  }

  get configured(): boolean {
    return this.#seeds.length > 0;
  }

  /** Why nothing is known of anybody, for people. */
  get silence(): string {
    if (!this.configured) return 'NEPHOS_DIRECTORY is empty, so there is no directory to ask';
    const named = this.#seeds.map(formatAddress).join(', ');
    const found = this.addresses;
    return found.length === 0
      ? `NEPHOS_DIRECTORY (${named}) leads to no address`
      : `no directory answers at ${named === found.join(', ') ? named : `${named} (${found.join(', ')})`}, and no list is on disk`;
  }

  /** `host:port`, in the order of the seeds. */
  get addresses(): readonly string[] {
    const all = this.#seeds.flatMap(({ host, port }) =>
      (isIP(host) ? [host] : (this.#found.get(host) ?? [])).map((ip) => formatAddress({ host: ip, port })),
    );
    return [...new Set(all)];
  }

  onChange(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  /** Looks names up again, at most once a second. */
  refresh(): void {
    const now = this.#clock.monotonic();
    if (now - this.#lastLookup < shortestPauseMs) return;
    this.#lastLookup = now;
    for (const name of this.#names()) void this.#lookUp(name);
  }

  [Symbol.dispose](): void {
    this.#refreshing?.[Symbol.dispose]();
    this.#listeners.clear();
  }

  #names(): readonly string[] {
    return [...new Set(this.#seeds.map(({ host }) => host).filter((host) => isIP(host) === 0))];
  }

  async #lookUp(name: string): Promise<void> {
    const found = await lookup(name, { all: true }).catch(() => []);
    // Name servers turn the order with each answer.
    const addresses = found.map(({ address }) => address).sort();
    if (addresses.length === 0 || addresses.join() === this.#found.get(name)?.join()) return;
    this.#found.set(name, addresses);
    for (const listener of [...this.#listeners]) listener();
  }
}
