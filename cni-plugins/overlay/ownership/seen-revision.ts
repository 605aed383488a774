import { PortcullisError } from '../../../base/errors/index.ts';

/** The revision of etcd that this host has seen, and the callers that wait for a later one. */
export interface SeenRevision {
  /** This host has seen all of etcd up to this revision. */
  reach(revision: number): void;
  /**
   * Resolves when all of etcd up to this revision was seen. @throws OVERLAY_ETCD_UNREACHABLE when that takes
   * more than some seconds
   */
  reached(revision: number): Promise<void>;
}

const reachedWithinMs = 10_000;

/** @param prefix of the keys that are watched, for errors */
export function createSeenRevision(prefix: string): SeenRevision {
  const waiting = new Set<{ readonly revision: number; readonly resolve: () => void }>();
  let seen = -1;
  return {
    reach(revision) {
      seen = revision;
      for (const each of waiting)
        if (each.revision <= seen) {
          waiting.delete(each);
          each.resolve();
        }
    },
    reached(revision) {
      if (seen >= revision) return Promise.resolve();
      return new Promise((resolve, reject) => {
        const entry = {
          revision,
          resolve: () => {
            clearTimeout(late);
            resolve();
          },
        };
        const late = setTimeout(() => {
          waiting.delete(entry);
          reject(unseen(prefix));
        }, reachedWithinMs);
        late.unref();
        waiting.add(entry);
      });
    },
  };
}

function unseen(prefix: string): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_ETCD_UNREACHABLE',
    kind: 'unavailable',
    attempted: 'read back what this host wrote',
    on: prefix,
    why: `the watch did not report it within ${reachedWithinMs / 1000} s`,
    fix: 'check that etcd runs and has a leader; it is tried again',
  });
}
