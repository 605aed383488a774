/** A host's claim of something that another host may claim as well. */
export interface Claimant {
  /** Empty: of no host, but of whoever wrote keys as the former version did. */
  readonly host: string;
  /** In etcd. */
  readonly key: string;
  readonly createRevision: number;
  readonly modRevision: number;
  /** What the claim says, as the fact that it is when it wins. */
  readonly value: Buffer;
}

/** Who has what of those that claim it: the claim whose key was made first. Pure. */
export interface Contests {
  put(name: string, claimant: Claimant): void;
  gone(name: string, key: string): void;
  winner(name: string): Claimant | undefined;
  claimants(name: string): Iterable<Claimant>;
  claimant(name: string, key: string): Claimant | undefined;
  names(): Iterable<string>;
  clear(): void;
}

interface Contest {
  readonly claimants: Map<string, Claimant>;
  winner: Claimant | undefined;
}

/** Of one revision are the keys of one transaction, which is of one host. */
const isOlder = (one: Claimant, other: Claimant): boolean =>
  one.createRevision === other.createRevision ? one.key < other.key : one.createRevision < other.createRevision;

export function createContests(): Contests {
  const contests = new Map<string, Contest>();
  return {
    put(name, claimant) {
      const contest = contests.get(name) ?? { claimants: new Map<string, Claimant>(), winner: undefined };
      contests.set(name, contest);
      contest.claimants.set(claimant.key, claimant);
      // A key that was deleted and made again between two listings is younger than it was.
      if (contest.winner?.key === claimant.key) contest.winner = oldestOf(contest.claimants.values());
      else if (contest.winner === undefined || isOlder(claimant, contest.winner)) contest.winner = claimant;
    },
    gone(name, key) {
      const contest = contests.get(name);
      if (contest?.claimants.delete(key) !== true) return;
      if (contest.claimants.size === 0) contests.delete(name);
      else if (contest.winner?.key === key) contest.winner = oldestOf(contest.claimants.values());
    },
    winner: (name) => contests.get(name)?.winner,
    claimants: (name) => contests.get(name)?.claimants.values() ?? [],
    claimant: (name, key) => contests.get(name)?.claimants.get(key),
    names: () => contests.keys(),
    clear: () => contests.clear(),
  };
}

function oldestOf(claimants: Iterable<Claimant>): Claimant | undefined {
  let oldest: Claimant | undefined;
  for (const each of claimants) if (oldest === undefined || isOlder(each, oldest)) oldest = each;
  return oldest;
}
