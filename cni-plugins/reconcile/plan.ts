import type { Link } from '../netlink/links.ts';
import { claimedLinks, hostInterfacePrefix, linkGroups } from '../attach/record.ts';
import type { AttachmentRecord } from '../attach/record.ts';

/** Desired state against the kernel's: what is to be done. Pure, so that any history can be tried on it. */
export type Operation =
  /** Nobody was told of it, or it was going already: isolate, forget once the kernel has let go. */
  | { readonly do: 'release'; readonly id: string }
  /** Its link is gone, its namespace stands: make it again, with the same address. */
  | { readonly do: 'remake'; readonly id: string }
  /** Its link stands off its bridge or down. */
  | { readonly do: 'rejoin'; readonly id: string }
  /** A link of ours that no record claims. */
  | { readonly do: 'delete-link'; readonly name: string }
  /** A bridge that we made and that nothing uses. */
  | { readonly do: 'delete-bridge'; readonly name: string };

export interface KernelState {
  readonly links: readonly Link[];
  /** Whether a pinned network namespace still stands at the path. */
  readonly namespaceStands: (path: string) => boolean;
}

export function planReconciliation(records: readonly AttachmentRecord[], kernel: KernelState): Operation[] {
  const byName = new Map(kernel.links.map((link) => [link.name, link]));
  const claimed = new Set(records.flatMap(claimedLinks));
  // What plugins made they must take back themselves, and no reconciliation makes it again.
  const own = records.filter(({ spec }) => spec.chains === undefined);
  const kept = own.filter(({ state }) => state === 'ready').map((record) => decide(record, byName, kernel));
  const stands = own.length < records.length || kept.some((operation) => operation?.do !== 'release');
  return [
    ...kernel.links.filter((link) => isOurs(link) && !claimed.has(link.name)).map(({ name }): Operation => ({ do: 'delete-link', name })),
    ...own.filter(({ state }) => state !== 'ready').map(({ id }): Operation => ({ do: 'release', id })),
    ...kept.filter((operation) => operation !== undefined),
    ...(stands ? [] : unusedBridges(kernel.links)),
  ];
}

function decide(record: AttachmentRecord, links: ReadonlyMap<string, Link>, kernel: KernelState): Operation | undefined {
  const link = links.get(record.spec.hostInterface);
  if (link === undefined || link.group !== linkGroups.pod)
    return { do: kernel.namespaceStands(record.spec.netns) ? 'remake' : 'release', id: record.id };
  const bridge = links.get(record.spec.bridge.name);
  return bridge !== undefined && link.master === bridge.index && link.up && bridge.up ? undefined : { do: 'rejoin', id: record.id };
}

/** By group and name: no other program's link has both. */
function isOurs(link: Link): boolean {
  return (link.group === linkGroups.pod || link.group === linkGroups.doomed) && link.name.startsWith(hostInterfacePrefix);
}

/** Bridges of ours; one that carries somebody else's link stays. */
export function unusedBridges(links: readonly Link[]): Operation[] {
  return links
    .filter((bridge) => bridge.group === linkGroups.bridge && bridge.kind === 'bridge')
    .filter((bridge) => !links.some((link) => link.master === bridge.index && !isOurs(link)))
    .map(({ name }) => ({ do: 'delete-bridge', name }));
}
