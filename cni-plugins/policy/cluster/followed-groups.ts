import type { GroupChange, GroupDefinition, PeerIndex } from '../kubernetes/peer-index.ts';

/** The groups of peers that are followed: those that rules of this node need, or will need. */
export interface FollowedGroups {
  want(definition: GroupDefinition): void;
  drop(key: string): void;
  /**
   * Takes the groups that are wanted, in place of all previous groups. The next `take` has all groups whole.
   */
  begin(groups: readonly GroupDefinition[]): void;
  /** Follows groups before they are wanted. @returns groups that are not followed any more */
  foresee(next: ReadonlyMap<string, GroupDefinition>): readonly string[];
  /** Reports that all nodes have arrived: the next `take` has all groups whole. */
  nodesCame(): void;
  /**
   * @param areNodesKnown until then, groups lack members: nodes, and pods, whose addresses do not count yet
   */
  take(areNodesKnown: boolean): readonly GroupChange[];
}

export function createFollowedGroups(
  index: Pick<PeerIndex, 'addGroup' | 'removeGroup' | 'take'>,
): FollowedGroups {
  const wanted = new Set<string>();
  let foreseen: ReadonlyMap<string, GroupDefinition> = new Map();
  const followed = new Map<string, GroupDefinition>();

  const add = (group: GroupDefinition): void => {
    followed.set(group.key, group);
    index.addGroup(group);
  };
  const remove = (key: string): void => {
    followed.delete(key);
    index.removeGroup(key);
  };
  const drop = (key: string): void => {
    wanted.delete(key);
    if (!foreseen.has(key)) remove(key);
  };

  return {
    want(definition) {
      wanted.add(definition.key);
      add(definition);
    },
    drop,
    begin(groups) {
      const now = new Set(groups.map(({ key }) => key));
      for (const key of wanted) if (!now.has(key)) drop(key);
      for (const group of [...foreseen.values(), ...groups]) add(group);
      for (const key of now) wanted.add(key);
    },
    foresee(next) {
      for (const [key, group] of next) if (!foreseen.has(key) && !wanted.has(key)) add(group);
      const dropped = [...foreseen.keys()].filter((key) => !next.has(key) && !wanted.has(key));
      foreseen = next;
      for (const key of dropped) remove(key);
      return dropped;
    },
    nodesCame() {
      for (const group of followed.values()) index.addGroup(group);
    },
    take: (areNodesKnown) =>
      index.take().map((change): GroupChange => (areNodesKnown ? change : { ...change, lacking: true })),
  };
}
