import type { PeerGroup } from '../rules/peer-group.ts';
import type { Labels } from './network-policy.ts';
import { createPeerIndex } from './peer-index.ts';
import type { GroupChange, GroupDefinition, PeerPod } from './peer-index.ts';

/** Where the members of groups come from. */
export interface PeerSource {
  /** Follows the group. Its members come with later changes. */
  want(definition: GroupDefinition): void;
  drop(key: string): void;
  /** @param pod a pod of this node; undefined: it is gone. @param identity `podIdentity` */
  putPod(id: string, pod: PeerPod | undefined, identity?: string): void;
  /** @param labels of the namespaces that files describe, all of them */
  putNamespaces(labels: ReadonlyMap<string, Labels | 'unknown'>): void;
  /** Returns what changed since the last call. */
  take(): readonly GroupChange[];
}

/** Members are the pods of this node, and namespaces are what files describe. */
export function localPeers(): PeerSource {
  const index = createPeerIndex({ absentIsBare: true });
  let known: ReadonlyMap<string, Labels | 'unknown'> = new Map();
  return {
    want: index.addGroup,
    drop: index.removeGroup,
    putPod: (id, pod) => index.putPod(id, pod),
    putNamespaces(labels) {
      for (const name of known.keys()) if (!labels.has(name)) index.putNamespace(name, undefined);
      for (const [name, one] of labels) if (known.get(name) !== one) index.putNamespace(name, one);
      known = labels;
    },
    take: index.take,
  };
}

/** The groups that rules of this node refer to, with their members. */
export interface PeerGroups {
  /** Returns the same object for the same key, while the group is followed. */
  groupFor(definition: GroupDefinition): PeerGroup;
  /**
   * Applies what changed to the members, and returns the differences, and the groups that became complete or
   * lack members now.
   */
  take(): { readonly changes: readonly GroupChange[]; readonly turned: ReadonlySet<PeerGroup> };
  /**
   * Stops following groups that were not used in two calls in a row: a pod that is replaced finds the group
   * of its predecessor. Returns whether there were any.
   */
  retain(used: ReadonlySet<string>): boolean;
}

function differenceTo(members: ReadonlySet<string>, { key, add }: GroupChange): GroupChange {
  const all = new Set(add);
  return {
    key,
    add: add.filter((member) => !members.has(member)),
    remove: [...members].filter((member) => !all.has(member)),
  };
}

interface Followed extends PeerGroup {
  readonly members: Set<string>;
  isComplete: boolean;
}

export function createPeerGroups(source: PeerSource): PeerGroups {
  const groups = new Map<string, Followed>();
  let unused: ReadonlySet<string> = new Set();
  return {
    groupFor(definition) {
      const { key, port } = definition;
      const known = groups.get(key);
      if (known !== undefined) return known;
      const withPorts = port !== undefined;
      const group: Followed = { key, withPorts, members: new Set(), isComplete: false };
      groups.set(key, group);
      source.want(definition);
      return group;
    },
    take() {
      const turned = new Set<PeerGroup>();
      const changes = source.take().flatMap((change) => {
        const group = groups.get(change.key);
        if (group === undefined) return [];
        const { members } = group;
        // A difference only ever follows all of the members.
        const isComplete = change.lacking !== true;
        if (isComplete !== group.isComplete) turned.add(group);
        group.isComplete = isComplete;
        const { key, add, remove } = change.whole === true ? differenceTo(members, change) : change;
        for (const member of remove) members.delete(member);
        for (const member of add) members.add(member);
        return add.length + remove.length === 0 ? [] : [{ key, add, remove }];
      });
      return { changes, turned };
    },
    retain(used) {
      const before = unused;
      unused = new Set([...groups.keys()].filter((key) => !used.has(key)));
      const gone = [...unused].filter((key) => before.has(key));
      for (const key of gone) {
        groups.delete(key);
        source.drop(key);
      }
      return gone.length > 0;
    },
  };
}
