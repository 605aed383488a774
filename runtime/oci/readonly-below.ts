import { underAny } from '../../base/lists/index.ts';
import type { OciMount } from './spec.types.ts';

/**
 * Returns the read-only paths of a profile, and the mounts below them. A runtime makes only the mount at a
 * path read-only, and not the mounts below it: a volume there would stay writable. Pure.
 * @param paths clean, like the destinations
 */
export function withMountsBelow(
  paths: readonly string[],
  mounts: readonly Pick<OciMount, 'destination'>[],
): readonly string[] {
  const isBelow = underAny(paths);
  const below = mounts.map(({ destination }) => destination).filter(isBelow);
  return below.length === 0 ? paths : [...new Set([...paths, ...below])];
}
