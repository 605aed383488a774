import type { NetworkDatabase } from './database.ts';

export interface OtherCommits {
  /** Whether there are commits that {@link OtherCommits.came} has not returned yet. */
  have(): boolean;
  /** Whether any came since the last call. The first call returns true. */
  came(): boolean;
}

/**
 * Notices commits of other connections than these: a connection's `data_version` changes with each commit of
 * any other one (sqlite.org/pragma.html), so each of these changes.
 */
export function createOtherCommits(connections: readonly Pick<NetworkDatabase, 'db'>[]): OtherCommits {
  const versions = connections.map(({ db }) => db.prepare('PRAGMA data_version'));
  let seen: readonly unknown[] | undefined;
  let areNew = true;
  const have = (): boolean => {
    const now = versions.map((version) => version.get()?.['data_version']);
    areNew ||= now.every((each, at) => each !== seen?.[at]);
    seen = now;
    return areNew;
  };
  return {
    have,
    came() {
      const were = have();
      areNew = false;
      return were;
    },
  };
}
