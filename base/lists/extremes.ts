/**
 * Returns the same as `Math.max(...numbers)`, but accepts any number of values. -Infinity for no values; NaN
 * if one value is NaN.
 */
export function largest(numbers: Iterable<number>): number {
  let found = Number.NEGATIVE_INFINITY;
  for (const number of numbers) found = Math.max(found, number);
  return found;
}

/**
 * Returns the same as `Math.min(...numbers)`, but accepts any number of values. Infinity for no values; NaN
 * if one value is NaN.
 */
export function smallest(numbers: Iterable<number>): number {
  let found = Number.POSITIVE_INFINITY;
  for (const number of numbers) found = Math.min(found, number);
  return found;
}
