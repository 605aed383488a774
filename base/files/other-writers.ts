import type { Stats } from 'node:fs';

/**
 * Returns why a user other than root can change a file or folder that root relies on, as one clause;
 * undefined if none can. A group that may write counts as chosen by an administrator. In a sticky folder,
 * only the owner of an entry can replace it.
 */
export function otherWriters(stats: Pick<Stats, 'isDirectory' | 'mode' | 'uid'>): string | undefined {
  if (stats.uid !== 0) return `it belongs to user ${stats.uid}, not to root`;
  return mayAllWrite(stats) ? 'every user may write to it' : undefined;
}

/** Returns whether every user can change a file, or replace the entries of a folder. */
export function mayAllWrite(stats: Pick<Stats, 'isDirectory' | 'mode'>): boolean {
  const isSticky = stats.isDirectory() && (stats.mode & 0o1000) !== 0;
  return (stats.mode & 0o002) !== 0 && !isSticky;
}
