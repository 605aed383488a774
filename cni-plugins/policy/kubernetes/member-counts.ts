/**
 * Limits of members of all groups together. Any user who writes NetworkPolicies in one namespace may choose
 * selectors that each select every pod of the cluster. A group beyond a limit has no members, so what it
 * would grant is denied, until it fits again. Beyond the limit of all groups, the largest group of the
 * namespace with the most members loses its members: a namespace with fewer members loses nothing. Groups of
 * ClusterNetworkPolicies have a limit of their own, because only administrators write these.
 */
export const memberLimits = { namespace: 262_144, all: 1_048_576, cluster: 1_048_576 } as const;
export type MemberLimits = Readonly<Record<keyof typeof memberLimits, number>>;

export interface GroupChange {
  readonly key: string;
  /** `add` has all members, whatever there was before. */
  readonly whole?: true;
  /** The group has more members than these: it is beyond a limit, or not everything is known. */
  readonly lacking?: true;
  readonly add: readonly string[];
  readonly remove: readonly string[];
}

/** A group with its members. Only {@link MemberCounts} changes it. */
export interface CountedGroup {
  readonly key: string;
  readonly namespace?: string;
  readonly ofCluster?: true;
  /** How many pods have the member: two pods may have one address, as pods in the node's network do. */
  readonly counts: Map<string, number>;
  /** The sum of `counts`, also while the group is overfull. */
  weight: number;
  isOverfull: boolean;
}

export const noMembers = (): Pick<CountedGroup, 'counts' | 'isOverfull' | 'weight'> => ({
  counts: new Map(),
  weight: 0,
  isOverfull: false,
});

/** Counts members within the limits, and remembers what changed. Pure. */
export interface MemberCounts<Group extends CountedGroup> {
  count(group: Group, member: string, by: 1 | -1): void;
  /** The next `take` returns all members of the group, which is added if it is not there yet. */
  refresh(group: Group): void;
  forget(group: Group): void;
  /** @param fill counts all members of a group that fits again */
  refill(fill: (group: Group) => void): void;
  /** Returns what changed since the last call. */
  take(): GroupChange[];
  size(): number;
}

/** The part of a limit within which an overfull group fits again: a pod that comes and goes fills it once. */
const fitsWithin = 0.9;
/** No namespace has this name. */
const clusterAccount = ' ';

/** Whose limit a group counts towards. */
const accountOf = ({ namespace = '', ofCluster }: CountedGroup): string =>
  ofCluster === true ? clusterAccount : namespace;

export function createMemberCounts<Group extends CountedGroup>(limits: MemberLimits): MemberCounts<Group> {
  const groups = new Set<Group>();
  const used = new Map<string, number>();
  /** The members of all namespaces. */
  let all = 0;
  /** Members that came (true) or went since the last call of `take`. */
  const pending = new Map<Group, Map<string, boolean>>();
  const fresh = new Set<Group>();
  const overfull = new Set<Group>();
  /** Groups that became overfull, or are no longer overfull, since the last call of `take`. */
  const turned = new Set<Group>();

  const limitOf = ({ ofCluster }: Group): number => (ofCluster === true ? limits.cluster : limits.namespace);
  const usedBy = (group: Group): number => used.get(accountOf(group)) ?? 0;
  const note = (group: Group, member: string, isThere: boolean): void => {
    const changes = pending.get(group) ?? new Map<string, boolean>();
    pending.set(group, changes);
    if (changes.get(member) === !isThere) changes.delete(member);
    else changes.set(member, isThere);
  };
  const charge = (group: Group, by: number): void => {
    const now = usedBy(group) + by;
    if (now === 0) used.delete(accountOf(group));
    else used.set(accountOf(group), now);
    if (group.ofCluster !== true) all += by;
  };
  const empty = (group: Group): void => {
    for (const member of group.counts.keys()) note(group, member, false);
    charge(group, -group.counts.size);
    group.counts.clear();
  };
  const overfill = (group: Group): void => {
    group.isOverfull = true;
    overfull.add(group);
    turned.add(group);
    empty(group);
  };
  /** Returns the largest group of the namespace with the most members. */
  const largest = (): Group | undefined => {
    let found: Group | undefined;
    let [mostBefore, sizeBefore] = [0, 0];
    for (const group of groups) {
      const [most, size] = [usedBy(group), group.counts.size];
      if (group.ofCluster === true || size === 0) continue;
      if (most < mostBefore || (most === mostBefore && size <= sizeBefore)) continue;
      [found, mostBefore, sizeBefore] = [group, most, size];
    }
    return found;
  };

  const differenceOf = (group: Group): Pick<GroupChange, 'add' | 'remove'> => {
    const [add, remove]: [string[], string[]] = [[], []];
    for (const [member, isThere] of pending.get(group) ?? []) (isThere ? add : remove).push(member);
    return { add, remove };
  };

  return {
    count(group, member, by) {
      group.weight += by;
      if (group.isOverfull) return;
      const before = group.counts.get(member) ?? 0;
      const now = before + by;
      if (now <= 0) group.counts.delete(member);
      else group.counts.set(member, now);
      if (before > 0 === now > 0) return;
      note(group, member, now > 0);
      charge(group, by);
      if (by === -1) return;
      if (usedBy(group) > limitOf(group)) overfill(group);
      else if (group.ofCluster !== true && all > limits.all) overfill(largest() ?? group);
    },
    refresh(group) {
      groups.add(group);
      fresh.add(group);
    },
    forget(group) {
      empty(group);
      for (const set of [groups, fresh, overfull, turned]) set.delete(group);
      pending.delete(group);
    },
    refill(fill) {
      for (const group of [...overfull].toSorted((a, b) => a.weight - b.weight)) {
        const fits =
          usedBy(group) + group.weight <= limitOf(group) * fitsWithin &&
          (group.ofCluster === true || all + group.weight <= limits.all * fitsWithin);
        if (!fits) continue;
        overfull.delete(group);
        turned.add(group);
        group.isOverfull = false;
        group.weight = 0;
        fill(group);
      }
    },
    take() {
      const changes: GroupChange[] = [];
      for (const group of new Set([...fresh, ...pending.keys(), ...turned])) {
        const { key, counts, isOverfull } = group;
        const difference = fresh.has(group)
          ? { whole: true as const, add: [...counts.keys()], remove: [] }
          : differenceOf(group);
        const isSame = difference.add.length + difference.remove.length === 0;
        if (isSame && !fresh.has(group) && !turned.has(group)) continue;
        changes.push({ key, ...difference, ...(isOverfull && { lacking: true }) });
      }
      for (const one of [fresh, pending, turned]) one.clear();
      return changes;
    },
    size: () => all + (used.get(clusterAccount) ?? 0),
  };
}
