import type { PathRestrictions } from './model.ts';

/** Returns true if `path` is `top` or below it. */
export function isUnder(path: string, top: string): boolean {
  return path === top || top === '/' || path.startsWith(`${top}/`);
}

/** Returns the paths that are below no other path, sorted: the same set of files without repetition. */
function outermost(paths: readonly string[]): string[] {
  const distinct = [...new Set(paths)];
  return distinct.filter((path) => !distinct.some((other) => other !== path && isUnder(path, other))).sort();
}

/** Returns restrictions in their simplest form. Paths are absolute and clean. */
export function pathRestrictions(masked: readonly string[], readonly: readonly string[]): PathRestrictions {
  const hidden = outermost(masked);
  return {
    masked: hidden,
    readonly: outermost(readonly).filter((path) => !hidden.some((top) => isUnder(path, top))),
  };
}

/** Returns the files below a path of both lists. */
function common(a: readonly string[], b: readonly string[]): string[] {
  return [
    ...a.filter((path) => b.some((top) => isUnder(path, top))),
    ...b.filter((path) => a.some((top) => isUnder(path, top))),
  ];
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
  const read = outer.masked.find((path) => !inner.masked.some((top) => isUnder(path, top)));
  if (read !== undefined) return { path: read, access: 'read' };
  const covered = unwritable(inner);
  const write = outer.readonly.find((path) => !covered.some((top) => isUnder(path, top)));
  return write === undefined ? undefined : { path: write, access: 'write' };
}
