import { findLink } from '../../../base/netlink/index.ts';
import type { NetlinkSocket } from '../../../base/netlink/index.ts';

/**
 * Indexes of links in a pod's namespace. The socket lives for one call, in which a created link keeps its
 * index.
 */
const indexes = new WeakMap<NetlinkSocket, Map<string, number>>();

export function rememberIndex(pod: NetlinkSocket, name: string, index: number): void {
  indexes.set(pod, (indexes.get(pod) ?? new Map<string, number>()).set(name, index));
}

/** Returns undefined when there is no link of that name. */
export function podIndexOf(pod: NetlinkSocket, name: string): number | undefined {
  return indexes.get(pod)?.get(name) ?? findLink(pod, { name })?.index;
}
