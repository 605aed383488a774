import { isAtOrUnder, outermostPaths, underAny } from '../../base/lists/index.ts';
import type { PathRestrictions } from './model.ts';

export { isAtOrUnder as isUnder };

/** Returns the paths that are below no other path, sorted: the same set of files without repetition. */
function outermost(paths: readonly string[]): string[] {
  return outermostPaths(paths).sort();
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
