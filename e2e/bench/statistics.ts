/** Medians, percentiles and the interval of a ratio of paired rounds. Pure. */

export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

/** Between the two nearest values. NaN of nothing. */
export function percentile(values: ArrayLike<number>, share: number): number {
  const sorted = Float64Array.from(values).sort();
  const place = (sorted.length - 1) * share;
  const below = sorted[Math.floor(place)] ?? NaN;
  const above = sorted[Math.ceil(place)] ?? NaN;
  return below + (above - below) * (place - Math.floor(place));
}

const resamples = 4000;

/**
 * The 95 % interval of the median of `values`, by bootstrap: the rounds are drawn anew with replacement. Drawn by a
 * generator with a fixed seed, so that the same rounds always give the same interval.
 */
export function medianInterval(values: readonly number[]): readonly [low: number, high: number] {
  const random = randomFrom(values.length);
  const medians = Array.from({ length: resamples }, () =>
    median(values.map(() => values[Math.floor(random() * values.length)] ?? NaN)),
  );
  return [percentile(medians, 0.025), percentile(medians, 0.975)];
}

/** Marsaglia's xorshift, 32 bits. */
function randomFrom(seed: number): () => number {
  let state = (seed * 2_654_435_761) | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
