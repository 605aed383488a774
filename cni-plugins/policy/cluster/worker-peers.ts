import type { PeerSource } from '../kubernetes/peer-groups.ts';
import type { GroupChange, GroupDefinition } from '../kubernetes/peer-index.ts';
import type { ClusterCalls, ClusterChanges, OwnersState } from './messages.ts';

export interface WorkerPeers extends PeerSource {
  take(changes?: ClusterChanges): readonly GroupChange[];
  state(): OwnersState;
  /** Groups that nothing wants yet, with their members. */
  readonly ready: Map<string, ReadyGroup>;
}

interface ReadyGroup extends Pick<GroupChange, 'lacking'> {
  readonly members: Set<string>;
}

type Notify = <Name extends keyof ClusterCalls>(
  call: Name,
  ...values: Parameters<ClusterCalls[Name]>
) => void;

/**
 * Passes what the rules need on to the Worker. The Worker also sends groups that pods of this node will need:
 * their members are kept, and are there when a pod opens.
 */
export function createWorkerPeers(notify: Notify, before?: Pick<WorkerPeers, 'ready'>): WorkerPeers {
  const wanted = new Map<string, GroupDefinition>();
  const own = new Map<string, OwnersState['pods'][number]>();
  const ready = before?.ready ?? new Map<string, ReadyGroup>();
  let namespaces: OwnersState['namespaces'] = [];
  let waiting: GroupChange[] = [];

  const keep = ({ key, whole, lacking, add, remove }: GroupChange): void => {
    const members = whole === true ? new Set<string>() : ready.get(key)?.members;
    // The group was wanted before, and is delivered as a whole if it is wanted again.
    if (members === undefined) return;
    for (const member of remove) members.delete(member);
    for (const member of add) members.add(member);
    ready.set(key, { members, ...(lacking === true && { lacking }) });
  };

  return {
    ready,
    want(definition) {
      const { key } = definition;
      wanted.set(key, definition);
      const known = ready.get(key);
      if (known !== undefined) {
        const { members, ...whetherLacking } = known;
        // A rule that denies must not count members that are not known yet as absent.
        waiting.push({ key, whole: true, ...whetherLacking, add: [...members], remove: [] });
      }
      ready.delete(key);
      notify('want', definition);
    },
    drop(key) {
      wanted.delete(key);
      notify('drop', key);
    },
    putPod(id, pod, identity) {
      if (pod === undefined) own.delete(id);
      else own.set(id, identity === undefined ? [id, pod] : [id, pod, identity]);
      if (identity === undefined) notify('putPod', id, pod);
      else notify('putPod', id, pod, identity);
    },
    putNamespaces(labels) {
      namespaces = [...labels];
      notify('putNamespaces', namespaces);
    },
    take(changes) {
      if (changes !== undefined) {
        // The Worker no longer follows these earlier groups: their members would never change.
        if (changes.whole) ready.clear();
        for (const key of changes.dropped) ready.delete(key);
        for (const change of changes.groups)
          if (wanted.has(change.key)) waiting.push(change);
          else keep(change);
        return [];
      }
      const taken = waiting;
      waiting = [];
      return taken;
    },
    state: () => ({ groups: [...wanted.values()], pods: [...own.values()], namespaces }),
  };
}
