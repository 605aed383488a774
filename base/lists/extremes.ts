/** As `Math.max(...numbers)`, but of any number of them; -Infinity of none, NaN where one is NaN. */
export function largest(numbers: Iterable<number>): number {
  let found = Number.NEGATIVE_INFINITY;
  for (const number of numbers) found = Math.max(found, number);
  return found;
}

/** As `Math.min(...numbers)`, but of any number of them; Infinity of none, NaN where one is NaN. */
export function smallest(numbers: Iterable<number>): number {
  let found = Number.POSITIVE_INFINITY;
  for (const number of numbers) found = Math.min(found, number);
  return found;
}
