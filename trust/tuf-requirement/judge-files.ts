import { isPortcullisError } from '../../base/errors/index.ts';
import { smallest } from '../../base/lists/index.ts';
import { tufFailure } from '../tuf/failure.ts';
import type { Dialect } from '../tuf-metadata/model.ts';
import type { Current, RoleAsked, Search } from '../tuf/search.ts';
import {
  nextRoot,
  refuseExpiredRoot,
  trustRoot,
  withSnapshot,
  withTargets,
  withTimestamp,
} from '../tuf/trusted-set.ts';
import type { TrustedSet } from '../tuf/trusted-set.ts';

/** The available metadata, trusted as far as it is valid at one time. Pure; nothing is fetched. */
export interface JudgedFiles {
  readonly current: Current;
  /** Runs a search over the available roles. @throws the codes of trusted-set.ts and of the search */
  run<T>(search: (current: Current) => Search<T>): T;
  /** Milliseconds since 1970 at which the first of the metadata trusted so far expires. */
  ends(): number;
}

/**
 * Verifies root chain, timestamp and snapshot from a pinned root on, by the rules of an update (TUF
 * specification 1.0.34, sections 5.3 to 5.5).
 * @param files by name: `2.root`, `timestamp`, `snapshot`, role names
 * @param at the time at which no metadata may have expired
 * @throws the codes of trusted-set.ts, TRUST_TUF_MISSING
 */
export function judgeFiles(input: {
  readonly dialect: Dialect;
  readonly root: Buffer;
  readonly files: ReadonlyMap<string, Buffer>;
  readonly at: Date;
}): JudgedFiles {
  const { dialect, files, at } = input;
  let set: TrustedSet = trustRoot(dialect, input.root);
  for (;;) {
    const next = files.get(`${set.root.signed.version + 1}.root`);
    if (next === undefined) break;
    set = nextRoot(set, next);
  }
  refuseExpiredRoot(set, at);
  set = withTimestamp(set, atHand(files, 'timestamp'), at);
  set = withSnapshot(set, atHand(files, 'snapshot'), at);

  const verified = new Set<string>();
  const bring = ({ name, delegator, unlisted, optional }: RoleAsked): boolean => {
    if (unlisted === true) return false;
    const path = `${delegator}\n${name}`;
    if (verified.has(path)) return true;
    const bytes = files.get(name);
    if (bytes === undefined) return false;
    try {
      set = withTargets(set, { name, delegator, bytes }, at);
    } catch (thrown) {
      if (optional === true && isPortcullisError(thrown)) return false;
      throw thrown;
    }
    verified.add(path);
    return true;
  };
  return {
    current: () => set,
    run(start) {
      const search = start(() => set);
      let step = search.next();
      while (step.done !== true) step = search.next(bring(step.value));
      return step.value;
    },
    ends() {
      const believed = [set.root, set.timestamp, set.snapshot, ...set.targets.values()];
      return smallest(
        believed.flatMap((metadata) => (metadata === undefined ? [] : [metadata.signed.expires])),
      );
    },
  };
}

function atHand(files: ReadonlyMap<string, Buffer>, name: string): Buffer {
  const bytes = files.get(name);
  if (bytes === undefined) throw tufFailure('TRUST_TUF_MISSING', name, 'its metadata is not available');
  return bytes;
}
