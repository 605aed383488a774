import type { Facts } from './facts.ts';

/** A host's claim of something that another host may also claim. */
export interface Claimant {
  /** Empty for keys without a host, which the former version writes. */
  readonly host: string;
  /** The key in etcd. */
  readonly key: string;
  readonly createRevision: number;
  readonly modRevision: number;
  /** The content of the claim: the value of the fact if the claim wins. */
  readonly value: Buffer;
}

/** Decides who owns what several hosts claim: the claim whose key was created first. Pure. */
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

/** Keys of the same revision come from one transaction, which belongs to one host. */
const isOlder = (one: Claimant, other: Claimant): boolean =>
  one.createRevision === other.createRevision
    ? one.key < other.key
    : one.createRevision < other.createRevision;

export function createContests(): Contests {
  const contests = new Map<string, Contest>();
  return {
    put(name, claimant) {
      const contest = contests.get(name) ?? { claimants: new Map<string, Claimant>(), winner: undefined };
      contests.set(name, contest);
      contest.claimants.set(claimant.key, claimant);
      // A key that was deleted and recreated between two listings is younger than before.
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

/** Contests whose winners are facts. @param factOf the fact of a name */
export function createFactContests(facts: Facts, factOf: (name: string) => string): Contests {
  const contests = createContests();
  const say = (name: string): void => facts.say(factOf(name), contests.winner(name)?.value);
  return {
    ...contests,
    put(name, claimant) {
      contests.put(name, claimant);
      say(name);
    },
    gone(name, key) {
      contests.gone(name, key);
      say(name);
    },
  };
}

function oldestOf(claimants: Iterable<Claimant>): Claimant | undefined {
  let oldest: Claimant | undefined;
  for (const each of claimants) if (oldest === undefined || isOlder(each, oldest)) oldest = each;
  return oldest;
}
