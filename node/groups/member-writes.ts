import type { EtcdClient } from '../../cni-plugins/index.ts';
import type { Claim } from './claim.ts';
import { nodePrefix, placePrefix, shortened, specKey, writeRecord } from './records.ts';
import type { GroupSpec, NodeRecord } from './records.ts';
import type { KnownGroup } from './view.ts';

/** The keys of one node, and nothing else: each write is one transaction. */
export interface MemberWrites {
  /**
   * Makes the node known to the group.
   * @param written called with the revision of etcd at which the record was written
   */
  register(group: string, written: (revision: number) => void): Promise<boolean>;
  /**
   * Takes a place, if nobody took one, failed or was registered after the view.
   * @param viewRevision revision of etcd of the view
   */
  take(group: string, known: KnownGroup, viewRevision: number, lease: number): Promise<boolean>;
  /** Binds the place to another lease, if it is still there. */
  bind(group: string, known: KnownGroup, lease: number): Promise<boolean>;
  /** Says why the node has not finished its change yet; '': the written reason no longer holds. */
  explain(group: string, known: KnownGroup, why: string): Promise<boolean>;
  /** Gives the place back, and says how the change ended. */
  leave(group: string, known: KnownGroup, phase: 'failed' | 'ready', why?: string): Promise<boolean>;
  /** Removes the record and the place of the node from a group that does not select it. */
  drop(group: string): Promise<boolean>;
}

interface Writer {
  readonly client: EtcdClient;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Every write compares it: an agent that has lost the name of its node changes nothing. */
  readonly claim: Claim;
  /** Returns the revision that was applied to the node; '' for none. */
  readonly revision: () => string;
}

/** The key after all keys with this prefix, which consist of ASCII and end with a slash. */
const endOf = (prefix: string): string => `${prefix.slice(0, -1)}0`;
const unwrittenSince = (prefix: string, modRevision: number) =>
  ({ result: 2, target: 2, key: prefix, rangeEnd: endOf(prefix), modRevision }) as const;
const isAt = (key: string, modRevision: number) => ({ result: 0, target: 2, key, modRevision }) as const;

export function memberWrites({ client, name, labels, claim, revision }: Writer): MemberWrites {
  const isOurs = isAt(claim.key, claim.modRevision);
  const ownKey = (group: string): string => `${nodePrefix(group)}${name}`;
  const placeKey = (group: string): string => `${placePrefix(group)}${name}`;
  const putRecord = (
    group: string,
    spec: Pick<GroupSpec, 'attempt' | 'generation'>,
    phase: NodeRecord['phase'],
    why?: string,
  ) => {
    const record: NodeRecord = {
      generation: spec.generation,
      attempt: spec.attempt,
      revision: revision(),
      phase,
      ...(why !== undefined && { why: shortened(why) }),
      labels,
      at: new Date().toISOString(),
    };
    return { put: { key: ownKey(group), value: writeRecord(record) } };
  };
  const specOf = ({ spec }: KnownGroup): Pick<GroupSpec, 'attempt' | 'generation'> =>
    spec ?? { attempt: 0, generation: 0 };
  return {
    async register(group, written) {
      const record = putRecord(group, { generation: 0, attempt: 0 }, 'waiting');
      const { succeeded, revision: at } = await client.commit([isOurs], [record]);
      if (succeeded) written(at);
      return succeeded;
    },
    take: (group, known, viewRevision, lease) =>
      client.transact(
        [
          isOurs,
          isAt(specKey(group), known.specRevision),
          unwrittenSince(placePrefix(group), viewRevision + 1),
          unwrittenSince(nodePrefix(group), viewRevision + 1),
        ],
        [
          { put: { key: placeKey(group), value: Buffer.from(String(specOf(known).generation)), lease } },
          putRecord(group, specOf(known), 'changing'),
        ],
      ),
    bind: (group, known, lease) =>
      client.transact(
        [isOurs, isAt(placeKey(group), known.placeRevisions.get(name) ?? 0)],
        [{ put: { key: placeKey(group), value: Buffer.from(String(specOf(known).generation)), lease } }],
      ),
    async explain(group, known, why) {
      const record = known.nodes.get(name);
      const place = known.placeRevisions.get(name);
      if (record === undefined || place === undefined) return false;
      const { why: _former, ...rest } = record;
      // The time stays: it says since when the node changes.
      const value = writeRecord({ ...rest, ...(why !== '' && { why }) });
      return client.transact(
        [isOurs, isAt(specKey(group), known.specRevision), isAt(placeKey(group), place)],
        [{ put: { key: ownKey(group), value } }],
      );
    },
    leave(group, known, phase, why) {
      const place = known.placeRevisions.get(name);
      return client.transact(
        [isOurs, isAt(specKey(group), known.specRevision), isAt(placeKey(group), place ?? 0)],
        [
          putRecord(group, specOf(known), phase, why),
          ...(place === undefined ? [] : [{ deleteRange: { key: placeKey(group) } }]),
        ],
      );
    },
    drop: (group) =>
      client.transact(
        [isOurs],
        [{ deleteRange: { key: placeKey(group) } }, { deleteRange: { key: ownKey(group) } }],
      ),
  };
}
