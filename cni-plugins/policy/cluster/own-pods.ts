import type { PeerIndex, PeerPod } from '../kubernetes/peer-index.ts';

/** Pods of this node as the network's thread knows them, earlier than the API does. */
export interface OwnPods {
  ids(): readonly string[];
  put(id: string, pod: PeerPod | undefined, uid?: string): void;
  /** The API reported that the pod ended or is gone: its addresses do not count any more. */
  reportEnded(uid: string, isEnded: boolean): void;
}

export function createOwnPods(index: Pick<PeerIndex, 'putPod'>): OwnPods {
  const own = new Map<string, { readonly pod: PeerPod; readonly uid?: string }>();
  const ended = new Set<string>();
  const tell = (id: string): void => {
    const one = own.get(id);
    const counts = one !== undefined && (one.uid === undefined || !ended.has(one.uid));
    index.putPod(`own ${id}`, counts ? one.pod : undefined);
  };
  return {
    ids: () => [...own.keys()],
    put(id, pod, uid) {
      if (pod === undefined) {
        const gone = own.get(id)?.uid;
        own.delete(id);
        if (gone !== undefined && ![...own.values()].some((one) => one.uid === gone)) ended.delete(gone);
      } else own.set(id, { pod, ...(uid !== undefined && { uid }) });
      tell(id);
    },
    reportEnded(uid, isEnded) {
      if (ended.has(uid) === isEnded || ![...own.values()].some((one) => one.uid === uid)) return;
      if (isEnded) ended.add(uid);
      else ended.delete(uid);
      for (const [id, one] of own) if (one.uid === uid) tell(id);
    },
  };
}
