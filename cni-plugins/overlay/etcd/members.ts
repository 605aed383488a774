/**
 * Chooses the member of etcd to ask next. A member that failed is avoided for a time that doubles with each
 * failure, so a member that hangs costs one deadline and not one per call. Pure except for the clock and the
 * random source that are passed in.
 */
export interface Members<Member> {
  /** Number of members. */
  readonly size: number;
  /**
   * Returns the member to ask now: the member that answered last, otherwise the next member that is not
   * avoided, otherwise the member whose waiting time ends first.
   */
  current(): Member;
  failed(member: Member): void;
  answered(member: Member): void;
}

const shortestMs = 1000;
const longestMs = 30_000;

interface Health<Member> {
  readonly member: Member;
  failures: number;
  /** Time until which it is avoided. */
  until: number;
}

/**
 * @param given at least one @param now milliseconds of a clock that never goes back @param random from 0 to 1
 */
export function createMembers<Member>(
  given: readonly Member[],
  now: () => number = () => performance.now(),
  random: () => number = Math.random,
): Members<Member> {
  const all = given.map((member): Health<Member> => ({ member, failures: 0, until: 0 }));
  let at = 0;
  const healthOf = (member: Member): Health<Member> | undefined => all.find((each) => each.member === member);
  return {
    size: all.length,
    current() {
      const time = now();
      const inTurn = all.map((_, step) => (at + step) % all.length);
      const chosen =
        inTurn.find((index) => (all[index]?.until ?? 0) <= time) ??
        inTurn.reduce((best, index) => ((all[index]?.until ?? 0) < (all[best]?.until ?? 0) ? index : best));
      at = chosen;
      const found = all[chosen];
      if (found === undefined) throw new Error('no member is given');
      return found.member;
    },
    failed(member) {
      const health = healthOf(member);
      if (health === undefined) return;
      // Concurrent calls fail together: they count once.
      if (health.until > now()) return;
      const wait = Math.min(shortestMs * 2 ** health.failures, longestMs);
      health.failures = Math.min(health.failures + 1, 16);
      health.until = now() + wait * (0.5 + random() / 2);
      if (all[at] === health) at = (at + 1) % all.length;
    },
    answered(member) {
      const health = healthOf(member);
      if (health === undefined) return;
      health.failures = 0;
      health.until = 0;
    },
  };
}
