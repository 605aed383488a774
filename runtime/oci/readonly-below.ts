import { underAny } from '../../base/lists/index.ts';
import type { OciMount } from './spec.types.ts';

/**
 * Returns the read-only paths of a profile, and the mounts below them. A runtime makes only the mount at a
 * path read-only, and not the mounts below it: a volume there would stay writable. Pure.
 * @param paths clean, like the destinations
 * @returns each path after those above it. crun binds each path again with all that is below, and makes only
 * the last mount at each path read-only: a path after one below it would make that one writable again
 */
export function withMountsBelow(
  paths: readonly string[],
  mounts: readonly Pick<OciMount, 'destination'>[],
): readonly string[] {
  const isBelow = underAny(paths);
  const below = mounts.map(({ destination }) => destination).filter(isBelow);
  if (below.length === 0) return paths;
  return [...new Set([...paths, ...below])].sort((a, b) => depth(a) - depth(b));
}

function depth(path: string): number {
  return path.split('/').length;
}
