import { annotationVariants } from './annotations.ts';
import { containerFieldVariants } from './container-fields.ts';
import { nameVariants } from './pod-names.ts';
import { podFieldVariants } from './pod-fields.ts';
import type { Variant } from './variant.ts';

export type { Variant } from './variant.ts';

/** All variants of a tenant's pod, group by group. */
export const variants: readonly Variant[] = [
  ...annotationVariants,
  ...nameVariants,
  ...podFieldVariants,
  ...containerFieldVariants,
];

/**
 * Returns some variants of each group, at least `least` and spread over it: a short form that has every type.
 */
export function someOfEach(least: number): Variant[] {
  const groups = Map.groupBy(variants, ({ group }) => group);
  return [...groups.values()].flatMap((rows) => {
    const step = Math.max(1, Math.floor(rows.length / least));
    return rows.filter((_row, index) => index % step === 0).slice(0, least);
  });
}
