/** How often a kind of kill or fault was tried, and how often it hit its target. */
export interface Exercised {
  readonly kind: string;
  readonly tries: number;
  readonly hits: number;
}

/** With fewer tries, as in the short forms of `npm test`, it can be chance that none hit. */
const leastTries = 10;

/**
 * Finds the kinds that a run did not test: a run in which none of many tries hit anything proves nothing,
 * although nothing failed.
 * @returns a sentence for each kind of which no try hit, and one for a run that tried nothing
 */
export function neverExercised(kinds: readonly Exercised[]): readonly string[] {
  if (kinds.every(({ tries }) => tries === 0)) return ['the run tried nothing'];
  return kinds
    .filter(({ tries, hits }) => hits === 0 && tries >= leastTries)
    .map(({ kind, tries }) => `${kind}: none of ${tries} tries hit anything`);
}
