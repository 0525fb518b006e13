/**
 * Which of several addresses the next call goes to. Pure but for the counts it keeps; time and chance are handed in.
 * Own zone first: it takes all calls while seven tenths of its weight can take them, then proportionally fewer, and
 * the rest spills over. Among those, two are drawn by weight and the one with fewer calls under way is taken.
 * An address that fails call after call, or most of them, is left out for a while that grows each time; the first
 * call after its return decides. Never more than half of all are left out, and never all that can be reached.
 */

/** An address that calls can go to. */
export interface Target {
  readonly address: string;
  readonly zone: string;
  /** Its share beside the others'. */
  readonly weight: number;
}

/** After so many failures in a row, or more than half of the last so many, an address is left out. */
const rowOfFailures = 5;
const remembered = 20;
const leftOutMs = { first: 2000, most: 60_000 };
/** A zone takes all of its callers' calls while this share of its weight can, see Envoy's overprovisioning. */
const enoughOfZone = 0.7;

/** How one address has fared. */
export class Standing {
  readonly target: Target;
  /** Calls under way. */
  pending = 0;
  /** On the monotonic clock; undefined: it is not left out. */
  returnsAt: number | undefined;
  #inARow = 0;
  #ejections = 0;
  readonly #outcomes: boolean[] = [];

  constructor(target: Target, earlier?: Standing) {
    this.target = target;
    if (earlier === undefined) return;
    this.pending = earlier.pending;
    this.returnsAt = earlier.returnsAt;
    this.#inARow = earlier.#inARow;
    this.#ejections = earlier.#ejections;
    this.#outcomes = earlier.#outcomes;
  }

  /** Takes in how a call ended; true: this address should be left out. */
  ended(failed: boolean): boolean {
    this.#outcomes.push(failed);
    if (this.#outcomes.length > remembered) this.#outcomes.shift();
    if (!failed) {
      this.#inARow = 0;
      if (this.#outcomes.length === remembered && !this.#outcomes.includes(true)) this.#ejections = 0;
      return false;
    }
    this.#inARow += 1;
    if (this.#inARow >= rowOfFailures) return true;
    return this.#outcomes.length === remembered && this.#outcomes.filter(Boolean).length > remembered / 2;
  }

  leaveOut(now: number): void {
    this.returnsAt = now + Math.min(leftOutMs.most, leftOutMs.first * 2 ** this.#ejections);
    this.#ejections += 1;
    this.#outcomes.length = 0;
  }

  /** Back on probation: one failure is enough, one success restores it. */
  comeBack(): void {
    this.returnsAt = undefined;
    this.#inARow = rowOfFailures - 1;
  }
}

/** Draws by weight. */
class Draw {
  readonly size: number;
  readonly total: number;
  readonly #standings: readonly Standing[];
  readonly #sums: readonly number[];

  constructor(standings: readonly Standing[]) {
    let sum = 0;
    this.#sums = standings.map(({ target }) => (sum += target.weight));
    this.#standings = standings;
    this.size = standings.length;
    this.total = sum;
  }

  /** Of two drawn, the one with fewer calls under way for its weight. */
  next(random: () => number): Standing | undefined {
    const one = this.#one(random);
    if (this.size < 2 || one === undefined) return one;
    const other = this.#one(random);
    if (other === undefined || other === one) return one;
    return other.pending * one.target.weight < one.pending * other.target.weight ? other : one;
  }

  #one(random: () => number): Standing | undefined {
    if (this.size === 1) return this.#standings[0];
    const drawn = random() * this.total;
    let low = 0;
    for (let high = this.size - 1; low < high; ) {
      const middle = (low + high) >> 1;
      if ((this.#sums[middle] ?? 0) <= drawn) low = middle + 1;
      else high = middle;
    }
    return this.#standings[low];
  }
}

/** One choice after the other among the addresses that are connected now. Made anew when those change. */
export class Choice {
  readonly #own: Draw;
  readonly #others: Draw;
  readonly #ownShare: number;
  readonly #random: () => number;

  /** `all`: every listed address; `ready`: those connected. `zone`: the caller's, empty for none. */
  constructor(
    all: readonly Standing[],
    ready: readonly Standing[],
    zone: string,
    random: () => number = Math.random,
  ) {
    const inUse = ready.filter(({ returnsAt }) => returnsAt === undefined);
    const usable = inUse.length > 0 ? inUse : ready;
    const isOwn = ({ target }: Standing) => zone !== '' && target.zone === zone;
    this.#own = new Draw(usable.filter(isOwn));
    this.#others = new Draw(usable.filter((each) => !isOwn(each)));
    const ownWeight = new Draw(all.filter(isOwn)).total;
    this.#ownShare = ownWeight === 0 ? 0 : this.#own.total / ownWeight / enoughOfZone;
    this.#random = random;
  }

  next(): Standing | undefined {
    if (this.#others.size === 0) return this.#own.next(this.#random);
    if (this.#own.size === 0) return this.#others.next(this.#random);
    const own = this.#ownShare >= 1 || this.#random() < this.#ownShare;
    return (own ? this.#own : this.#others).next(this.#random);
  }
}

/** Whether one more may be left out. */
export function mayLeaveOut(all: readonly Standing[]): boolean {
  const out = all.filter(({ returnsAt }) => returnsAt !== undefined).length;
  return (out + 1) * 2 <= all.length;
}
