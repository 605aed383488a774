import type { PeerIndex, PeerPod } from '../kubernetes/peer-index.ts';

/** Pods of this node as the network's thread knows them, earlier than the API does. */
export interface OwnPods {
  ids(): readonly string[];
  put(id: string, pod: PeerPod | undefined, identity?: string): void;
  /** The API reported that the pod ended or is gone: its addresses do not count any more. */
  reportEnded(identity: string, isEnded: boolean): void;
  /** Returns the identity of the pod that has the address on this node; undefined: none is known. */
  holderOf(address: string): string | undefined;
}

/** @param onHeld called after these addresses came to a pod of this node or left one */
export function createOwnPods(
  index: Pick<PeerIndex, 'putPod'>,
  onHeld: (addresses: readonly string[]) => void,
): OwnPods {
  const own = new Map<string, { readonly pod: PeerPod; readonly identity?: string }>();
  const ended = new Set<string>();
  const holders = new Map<string, string>();
  const putCounted = (id: string): void => {
    const one = own.get(id);
    const counts = one !== undefined && (one.identity === undefined || !ended.has(one.identity));
    index.putPod(`own ${id}`, counts ? one.pod : undefined);
  };
  return {
    ids: () => [...own.keys()],
    put(id, pod, identity) {
      const before = own.get(id);
      if (pod === undefined) {
        const gone = before?.identity;
        own.delete(id);
        if (gone !== undefined && ![...own.values()].some((one) => one.identity === gone)) ended.delete(gone);
      } else own.set(id, { pod, ...(identity !== undefined && { identity }) });
      putCounted(id);
      const [left, held] = [before?.pod.addresses ?? [], pod?.addresses ?? []];
      for (const address of left) if (holders.get(address) === id) holders.delete(address);
      for (const address of held) holders.set(address, id);
      onHeld([...left, ...held]);
    },
    reportEnded(identity, isEnded) {
      if (ended.has(identity) === isEnded || ![...own.values()].some((one) => one.identity === identity))
        return;
      if (isEnded) ended.add(identity);
      else ended.delete(identity);
      for (const [id, one] of own) if (one.identity === identity) putCounted(id);
    },
    holderOf: (address) => own.get(holders.get(address) ?? '')?.identity,
  };
}
