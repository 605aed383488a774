import type { Stats } from 'node:fs';

/**
 * Returns why a user other than root can change a file or folder that root relies on, as one clause;
 * undefined if none can. A group that may write counts as chosen by an administrator. In a sticky folder,
 * only the owner of an entry can replace it.
 */
export function otherWriters(stats: Pick<Stats, 'isDirectory' | 'mode' | 'uid'>): string | undefined {
  if (stats.uid !== 0) return `it belongs to user ${stats.uid}, not to root`;
  const isSticky = stats.isDirectory() && (stats.mode & 0o1000) !== 0;
  return (stats.mode & 0o002) !== 0 && !isSticky ? 'every user may write to it' : undefined;
}
