import { findLink } from '../../netlink/link-settings.ts';
import type { NetlinkSocket } from '../../netlink/socket.ts';

/** Indexes of links in a pod's namespace: its socket lives as long as one call, in which a link that was made keeps its own. */
const indexes = new WeakMap<NetlinkSocket, Map<string, number>>();

export function rememberIndex(pod: NetlinkSocket, name: string, index: number): void {
  indexes.set(pod, (indexes.get(pod) ?? new Map<string, number>()).set(name, index));
}

/** Undefined when there is no link of that name. */
export function podIndexOf(pod: NetlinkSocket, name: string): number | undefined {
  return indexes.get(pod)?.get(name) ?? findLink(pod, { name })?.index;
}
