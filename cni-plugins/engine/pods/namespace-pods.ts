import type { HostKernel } from '../../links/host-kernel.ts';
import type { NetworkStore } from '../../database/store.ts';

/** Finds the pods of network namespaces, which the kernel's events name by numbers. */
export interface NamespacePods {
  /** Notes an event of a namespace. @param isLossy something was removed there */
  note(number: number, isLossy: boolean): void;
  /** Calls `found` for each noted namespace that belongs to one of our pods. Drops the other namespaces. */
  resolve(found: (id: string, isLossy: boolean) => void): void;
}

export interface NamespacePodsDeps {
  readonly store: Pick<NetworkStore, 'record' | 'records'>;
  readonly kernel: Pick<HostKernel, 'link' | 'links'>;
}

/** Time between two listings of all links, which are read to find the pod of a namespace. */
const readEveryMs = 2000;

/** Reads nothing before the first event. */
export function createNamespacePods({ store, kernel }: NamespacePodsDeps): NamespacePods {
  /** Pods by the number of their namespace, as of the last listing. */
  let pods = new Map<number, string>();
  /**
   * Numbers whose pod is not known yet. Namespaces that do not belong to our pods stay unknown, so they are
   * not looked up at each of their events.
   */
  const unresolved = new Set<number>();
  const lossy = new Set<number>();
  let readAt = -readEveryMs;

  const readPods = (): void => {
    const ids = new Map(store.records().map(({ id, spec }) => [spec.hostInterface, id]));
    pods = new Map(
      kernel.links().flatMap(({ name, peerNamespace }) => {
        const id = ids.get(name);
        return id === undefined || peerNamespace === undefined ? [] : [[peerNamespace, id] as const];
      }),
    );
  };

  /** The number may belong to another namespace by now. */
  const podOf = (number: number): string | undefined => {
    const id = pods.get(number);
    const link = id === undefined ? undefined : store.record(id)?.spec.hostInterface;
    return link !== undefined && kernel.link(link)?.peerNamespace === number ? id : undefined;
  };

  return {
    note(number, isLossy) {
      unresolved.add(number);
      if (isLossy) lossy.add(number);
    },
    resolve(found) {
      const take = (): void => {
        for (const number of unresolved) {
          const id = podOf(number);
          if (id === undefined) continue;
          found(id, lossy.has(number));
          unresolved.delete(number);
          lossy.delete(number);
        }
      };
      take();
      const now = performance.now();
      if (unresolved.size === 0 || now - readAt < readEveryMs) return;
      readAt = now;
      readPods();
      take();
      unresolved.clear();
      lossy.clear();
    },
  };
}
