import { isDeepStrictEqual } from 'node:util';

/**
 * Returns the names of the options that differ between two configurations, sorted, such as `metrics.address`.
 * It returns no values, because the log must not contain them.
 * @param applied names of options that are left out
 */
export function changedOptions(before: object, after: object, applied: readonly string[]): string[] {
  return changedBelow('', before, after)
    .filter((name) => !applied.includes(name))
    .toSorted();
}

function changedBelow(name: string, before: unknown, after: unknown): string[] {
  if (isDeepStrictEqual(before, after)) return [];
  if (!isMap(before) || !isMap(after)) return [name];
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].flatMap((key) =>
    changedBelow(name === '' ? key : `${name}.${key}`, before[key], after[key]),
  );
}

function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
