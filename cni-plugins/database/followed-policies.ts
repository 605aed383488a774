import type { NetworkDatabase } from './database.ts';

/**
 * Whether the daemon of this database applies NetworkPolicies to pods of other runtimes. A plugin that runs
 * without the daemon then attaches no such pod. It holds for callers of every host network namespace: after a
 * reboot, a plugin without the daemon cannot know which one is the daemon's. Its table is not a step of the
 * schema: the previous version ignores it.
 */
export interface FollowedPolicies {
  /** Writes only a change. */
  set(areFollowed: boolean): void;
  areFollowed(): boolean;
}

/** @throws the errors of {@link NetworkDatabase} if the database cannot be written */
export function createFollowedPolicies({ db, transaction }: NetworkDatabase): FollowedPolicies {
  const exists = db.prepare(
    "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'followed_policies'",
  );
  const areFollowed = (): boolean =>
    exists.get() !== undefined && db.prepare('SELECT 1 FROM followed_policies').get() !== undefined;
  return {
    areFollowed,
    set(wanted) {
      if (areFollowed() === wanted) return;
      transaction(() => {
        db.exec('CREATE TABLE IF NOT EXISTS followed_policies (followed INTEGER PRIMARY KEY) STRICT');
        db.exec(wanted ? 'INSERT INTO followed_policies VALUES (1)' : 'DELETE FROM followed_policies');
      });
    },
  };
}
