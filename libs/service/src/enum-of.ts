/**
 * Stored words as the contract's enum values. A word that a newer version of a service wrote is UNSPECIFIED to those
 * who ask this one; in the record it stays as it is.
 */
export function enumOf<Word extends string, Value>(
  values: Readonly<Record<Word, Value>>,
  word: Word,
): Value | 0 {
  return Object.hasOwn(values, word) ? values[word] : 0;
}
