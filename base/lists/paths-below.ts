/**
 * Compares absolute paths in the order in which the paths below a path directly follow it: the separator
 * sorts before every other character.
 */
function comparePaths(a: string, b: string): number {
  const end = Math.min(a.length, b.length);
  let start = 0;
  // The engine compares texts much faster than a loop compares their characters.
  while (start + PIECE < end && a.slice(start, start + PIECE) === b.slice(start, start + PIECE))
    start += PIECE;
  for (let at = start; at < end; at += 1) {
    const [one, other] = [a.charCodeAt(at), b.charCodeAt(at)];
    if (one !== other) return one === SLASH ? -1 : other === SLASH ? 1 : one - other;
  }
  return a.length - b.length;
}

const SLASH = 0x2f;
const PIECE = 64;

/** Returns true if `path` is `top` or below it. Both are absolute and clean. */
export function isAtOrUnder(path: string, top: string): boolean {
  return top === '/' || (path.startsWith(top) && (path.length === top.length || path[top.length] === '/'));
}

/** Returns the paths that are below no other path, in the order of {@link comparePaths}. */
export function outermostPaths(paths: readonly string[]): string[] {
  const found: string[] = [];
  for (const path of [...new Set(paths)].sort(comparePaths)) {
    const last = found.at(-1);
    if (last === undefined || !isAtOrUnder(path, last)) found.push(path);
  }
  return found;
}

/**
 * Returns whether a path is one of `paths` or below one. A request can name many paths, so an answer takes
 * time logarithmic in their number.
 */
export function underAny(paths: readonly string[]): (path: string) => boolean {
  const tops = outermostPaths(paths);
  return (path) => {
    let [low, high] = [0, tops.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (comparePaths(tops[middle] ?? '', path) <= 0) low = middle + 1;
      else high = middle;
    }
    // Only the last one that does not follow the path can be above it.
    const before = tops[low - 1];
    return before !== undefined && isAtOrUnder(path, before);
  };
}
