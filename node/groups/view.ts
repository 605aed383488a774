import type { EtcdChange } from '../../cni-plugins/index.ts';
import type { GroupView } from './decide.ts';
import { readGroupKey, readNodeRecord, readSpec } from './records.ts';
import type { GroupSpec, NodeRecord } from './records.ts';

/** A group as its keys say, with the revisions of etcd that a transaction compares. */
export interface KnownGroup extends Omit<GroupView, 'spec'> {
  readonly spec: GroupSpec | undefined;
  readonly specRevision: number;
  /** Revisions of the keys of places, by node. */
  readonly placeRevisions: ReadonlyMap<string, number>;
  /**
   * When the specification or a place changed last, in ms of `performance.now()`. The turns of the nodes that
   * wait begin then. A record begins no turns: a node that writes its own often would stop the others.
   */
  readonly changedAt: number;
}

/** All groups, as far as changes were heard. */
export interface GroupViews {
  /** Forgets everything, and takes all pairs. */
  replace(pairs: Iterable<{ key: string; value: Buffer; modRevision: number }>, revision: number): void;
  take(changes: readonly EtcdChange[]): void;
  /** The revision of etcd of the view: nothing that was written later is in it. */
  revision(): number;
  /** How many times everything was replaced. */
  listings(): number;
  groups(): ReadonlyMap<string, KnownGroup>;
}

interface Mutable {
  spec: GroupSpec | undefined;
  specRevision: number;
  readonly nodes: Map<string, NodeRecord>;
  readonly places: Set<string>;
  readonly placeRevisions: Map<string, number>;
  changedAt: number;
}

/** Values of other hosts are read with limits; a value that is not a record counts as absent. */
export function createGroupViews(now: () => number = () => performance.now()): GroupViews {
  const groups = new Map<string, Mutable>();
  let seen = 0;
  let listings = 0;
  const set = (key: string, value: Buffer | undefined, modRevision: number): void => {
    const parts = readGroupKey(key);
    if (parts === undefined) return;
    const group: Mutable = groups.get(parts.group) ?? {
      spec: undefined,
      specRevision: 0,
      nodes: new Map(),
      places: new Set(),
      placeRevisions: new Map(),
      changedAt: now(),
    };
    groups.set(parts.group, group);
    if (parts.part !== 'nodes') group.changedAt = now();
    if (parts.part === 'spec') {
      group.spec = value && readSpec(value);
      group.specRevision = value === undefined ? 0 : modRevision;
      return;
    }
    if (parts.part === 'nodes') {
      const record = value && readNodeRecord(value);
      if (record === undefined) group.nodes.delete(parts.node);
      else group.nodes.set(parts.node, record);
      return;
    }
    if (value === undefined) {
      group.places.delete(parts.node);
      group.placeRevisions.delete(parts.node);
    } else {
      group.places.add(parts.node);
      group.placeRevisions.set(parts.node, modRevision);
    }
  };
  return {
    replace(pairs, revision) {
      groups.clear();
      seen = revision;
      listings += 1;
      for (const { key, value, modRevision } of pairs) set(key, value, modRevision);
    },
    take(changes) {
      for (const { key, value, modRevision = seen } of changes) {
        set(key, value, modRevision);
        seen = Math.max(seen, modRevision);
      }
    },
    revision: () => seen,
    listings: () => listings,
    groups: () => groups,
  };
}
