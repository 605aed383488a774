import type { PathRestrictions } from './model.ts';

/** Returns true if `path` is `top` or below it. */
export function isUnder(path: string, top: string): boolean {
  return path === top || top === '/' || path.startsWith(`${top}/`);
}

/**
 * A path in the order in which the paths below a path directly follow it: the separator sorts before every
 * other character.
 */
function orderKey(path: string): string {
  return path.replaceAll('/', '\0');
}

/** Returns the paths that are below no other path, in that order. */
function tops(paths: readonly string[]): string[] {
  const keys = [...new Set(paths)].map((path) => ({ path, key: orderKey(path) }));
  const found: string[] = [];
  for (const { path } of keys.sort((a, b) => (a.key < b.key ? -1 : 1))) {
    const last = found.at(-1);
    if (last === undefined || !isUnder(path, last)) found.push(path);
  }
  return found;
}

/** Returns the paths that are below no other path, sorted: the same set of files without repetition. */
function outermost(paths: readonly string[]): string[] {
  return tops(paths).sort();
}

/**
 * Returns whether a path is one of `paths` or below one. A request can name many paths, so an answer takes
 * time logarithmic in their number.
 */
function underAny(paths: readonly string[]): (path: string) => boolean {
  const sorted = tops(paths).map((path) => ({ path, key: orderKey(path) }));
  return (path) => {
    const key = orderKey(path);
    let [low, high] = [0, sorted.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((sorted[middle]?.key ?? '') <= key) low = middle + 1;
      else high = middle;
    }
    // Only the last one that does not follow the path can be above it.
    const before = sorted[low - 1];
    return before !== undefined && isUnder(path, before.path);
  };
}

/** Returns restrictions in their simplest form. Paths are absolute and clean. */
export function pathRestrictions(masked: readonly string[], readonly: readonly string[]): PathRestrictions {
  const isHidden = underAny(masked);
  return { masked: outermost(masked), readonly: outermost(readonly).filter((path) => !isHidden(path)) };
}

/** Returns the files below a path of both lists. */
function common(a: readonly string[], b: readonly string[]): string[] {
  return [...a.filter(underAny(b)), ...b.filter(underAny(a))];
}

function unwritable(paths: PathRestrictions): string[] {
  return [...paths.masked, ...paths.readonly];
}

/** Returns the paths that either restricts. */
export function meetPaths(a: PathRestrictions, b: PathRestrictions): PathRestrictions {
  return pathRestrictions([...a.masked, ...b.masked], [...a.readonly, ...b.readonly]);
}

/** Returns the paths that both restrict. */
export function joinPaths(a: PathRestrictions, b: PathRestrictions): PathRestrictions {
  return pathRestrictions(common(a.masked, b.masked), common(unwritable(a), unwritable(b)));
}

/** Returns a path that `outer` restricts and `inner` does not. */
export function pathExcess(
  outer: PathRestrictions,
  inner: PathRestrictions,
): { path: string; access: 'read' | 'write' } | undefined {
  const isMasked = underAny(inner.masked);
  const read = outer.masked.find((path) => !isMasked(path));
  if (read !== undefined) return { path: read, access: 'read' };
  const isUnwritable = underAny(unwritable(inner));
  const write = outer.readonly.find((path) => !isUnwritable(path));
  return write === undefined ? undefined : { path: write, access: 'write' };
}
