import type { Verdict } from '../../trust/index.ts';

/**
 * Returns the first time after `now` at which one of the verdicts may change; undefined: none changes by time
 * alone.
 */
export function earliestEnd(verdicts: readonly Pick<Verdict, 'validUntil'>[], now: Date): string | undefined {
  const ends = verdicts.flatMap(({ validUntil }) =>
    validUntil !== undefined && Date.parse(validUntil) > now.getTime() ? [validUntil] : [],
  );
  return ends.sort((a, b) => Date.parse(a) - Date.parse(b))[0];
}
