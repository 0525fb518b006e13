/**
 * Paired rounds: ours and the peer in turn within one run, so that whatever else the machine does hits both.
 * Invariants: a round of one side ends before the other's begins; which side goes first alternates; the first
 * rounds of each side are thrown away.
 */
import { median, medianInterval } from './statistics.ts';

/** One figure that a round gives. */
export interface Figure {
  readonly name: string;
  readonly unit: string;
  readonly better: 'higher' | 'lower';
}

/** A round's figures by name. */
export type Measured = Readonly<Record<string, number>>;

/** One side of a case, started. */
export type Round = () => Promise<Measured>;

export interface Sides extends AsyncDisposable {
  readonly ours: Round;
  readonly peer: Round;
}

/** A comparison: what it starts, and which figures come of each round. */
export interface Case {
  readonly name: string;
  readonly about: string;
  readonly peerName: string;
  readonly figures: readonly Figure[];
  readonly rounds: number;
  readonly warmUp: number;
  start(scale: Scale): Promise<Sides>;
}

/** How much a round does: `quick` only shows that everything runs. */
export type Scale = 'full' | 'quick';

/** One line of output. */
export interface Result {
  readonly bench: string;
  readonly case: string;
  readonly ours: number;
  readonly peer: number;
  readonly peerName: string;
  /** The median of the rounds' own ratios, ours to the peer's. */
  readonly ratio: number;
  readonly unit: string;
  /** 95 % interval of the ratio. */
  readonly ci: readonly [number, number];
  readonly rounds: number;
  readonly better: Figure['better'];
  /** The machine's load average over the last minute, at the end. */
  readonly load: number;
}

interface Pair {
  readonly ours: Measured;
  readonly peer: Measured;
}

/** Runs the rounds; `onRound` is told of each pair. */
export async function runPaired(
  { ours, peer }: Sides,
  { rounds, warmUp }: { readonly rounds: number; readonly warmUp: number },
  onRound: (pair: Pair, round: number) => void = () => undefined,
): Promise<Pair[]> {
  const pairs: Pair[] = [];
  for (let round = -warmUp; round < rounds; round += 1) {
    const oursFirst = round % 2 === 0;
    const first = await (oursFirst ? ours : peer)();
    const second = await (oursFirst ? peer : ours)();
    const pair = oursFirst ? { ours: first, peer: second } : { ours: second, peer: first };
    if (round < 0) continue;
    pairs.push(pair);
    onRound(pair, round);
  }
  return pairs;
}

/** A result a figure. */
export function resultsOf(bench: string, case_: Case, pairs: readonly Pair[], load: number): Result[] {
  return case_.figures.map(({ name, unit, better }) => {
    const ours = pairs.map((pair) => pair.ours[name] ?? NaN);
    const peer = pairs.map((pair) => pair.peer[name] ?? NaN);
    const ratios = ours.map((value, round) => value / (peer[round] ?? NaN));
    const [low, high] = medianInterval(ratios);
    return {
      bench,
      case: `${case_.name}/${name}`,
      ours: rounded(median(ours)),
      peer: rounded(median(peer)),
      peerName: case_.peerName,
      ratio: rounded(median(ratios)),
      unit,
      ci: [rounded(low), rounded(high)],
      rounds: pairs.length,
      better,
      load: rounded(load),
    };
  });
}

/** Four significant digits: more would only pretend. */
function rounded(value: number): number {
  return Number(value.toPrecision(4));
}
