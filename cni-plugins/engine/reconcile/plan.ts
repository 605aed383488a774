import type { Link } from '../../../base/netlink/index.ts';
import { claimedLinks, hostInterfacePrefix, isByChain, linkGroups } from '../../database/record.ts';
import type { AttachmentRecord } from '../../database/record.ts';

/** The actions that bring the kernel to the desired state. Pure, so that tests can try any history. */
export type Operation =
  /**
   * The attachment was never reported to a caller, or its removal had already begun. Isolate it, and forget
   * it once the kernel has released the link.
   */
  | { readonly do: 'release'; readonly id: string }
  /** The link is gone but its namespace exists. Recreate the link with the same address. */
  | { readonly do: 'remake'; readonly id: string }
  /** The link is off its bridge, down, or in no group by which the rules identify it. */
  | { readonly do: 'rejoin'; readonly id: string }
  /** A link of ours without a record. */
  | { readonly do: 'delete-link'; readonly name: string }
  /** A bridge that we created and that nothing uses. */
  | { readonly do: 'delete-bridge'; readonly name: string };

type ReleaseOperation = Extract<Operation, { do: 'release' }>;
/** Restores the link of a running pod. */
export type RepairOperation = Extract<Operation, { do: 'rejoin' | 'remake' }>;

export interface KernelState {
  readonly links: readonly Link[];
  /** The alias of the links of this root. */
  readonly tag: string;
  /** Whether a pinned network namespace still exists at the path. */
  readonly namespaceStands: (path: string) => boolean;
}

export function planReconciliation(records: readonly AttachmentRecord[], kernel: KernelState): Operation[] {
  const claimed = new Set(records.flatMap(claimedLinks));
  // Plugins must remove what they created themselves.
  const own = records.filter(({ spec }) => spec.chains === undefined);
  const kept = decisions(records, kernel);
  const exists =
    own.length < records.length || own.some(({ id, state }) => state === 'ready' && !isReleased(kept, id));
  return [
    ...unclaimedLinks(claimed, kernel).map(({ name }): Operation => ({ do: 'delete-link', name })),
    ...own.filter(({ state }) => state !== 'ready').map(({ id }): Operation => ({ do: 'release', id })),
    ...kept,
    ...(exists ? [] : unusedBridges(claimed, kernel)),
  ];
}

const isReleased = (operations: readonly Operation[], id: string): boolean =>
  operations.some((operation) => operation.do === 'release' && operation.id === id);

/** Plans the repair of links that differ from the record, of pods whose namespace exists. */
export function planRepair(records: readonly AttachmentRecord[], kernel: KernelState): RepairOperation[] {
  return decisions(records, kernel).filter((operation) => operation.do !== 'release');
}

function decisions(
  records: readonly AttachmentRecord[],
  kernel: KernelState,
): (RepairOperation | ReleaseOperation)[] {
  const byName = new Map(kernel.links.map((link) => [link.name, link]));
  return records
    .filter(({ state }) => state === 'ready')
    .flatMap((record) => decide(record, byName, kernel) ?? []);
}

function decide(
  { id, spec }: AttachmentRecord,
  links: ReadonlyMap<string, Link>,
  kernel: KernelState,
): RepairOperation | ReleaseOperation | undefined {
  // Only the chain of plugins that created a link can recreate it.
  if (isByChain(spec)) return undefined;
  const link = links.get(spec.hostInterface);
  if (link?.kind !== 'veth') {
    if (kernel.namespaceStands(spec.netns)) return { do: 'remake', id };
    return spec.chains === undefined ? { do: 'release', id } : undefined;
  }
  const bridge = links.get(spec.bridge.name);
  const exists =
    bridge !== undefined &&
    link.master === bridge.index &&
    link.up &&
    bridge.up &&
    link.group === linkGroups.pod;
  return exists ? undefined : { do: 'rejoin', id };
}

/**
 * Returns our links without a record. Group and name exclude links of other programs; the alias excludes
 * links of other roots.
 */
export function unclaimedLinks(
  claimed: ReadonlySet<string>,
  { links, tag }: Pick<KernelState, 'links' | 'tag'>,
): Link[] {
  return links.filter((link) => inPodGroup(link) && link.alias === tag && !claimed.has(link.name));
}

/**
 * Returns pod links that the daemon of another root created, or a version that set no alias yet. Only that
 * daemon knows who owns them. A pod's link is a veth pair and exists as long as the pod's namespace does.
 */
export function linksOfOthers(
  claimed: ReadonlySet<string>,
  { links, tag }: Pick<KernelState, 'links' | 'tag'>,
): Link[] {
  const groups: readonly number[] = [linkGroups.pod, linkGroups.routed];
  return links.filter(
    ({ name, kind, group, alias }) =>
      kind === 'veth' && groups.includes(group) && alias !== tag && !claimed.has(name),
  );
}

const inPodGroup = ({ group, name }: Link): boolean =>
  (group === linkGroups.pod || group === linkGroups.deleting) && name.startsWith(hostInterfacePrefix);

/** Plans the removal of our unused bridges. A bridge that carries a link of another program stays. */
export function unusedBridges(
  claimed: ReadonlySet<string>,
  { links, tag }: Pick<KernelState, 'links' | 'tag'>,
): Operation[] {
  const isOurs = (link: Link): boolean => inPodGroup(link) && (link.alias === tag || claimed.has(link.name));
  return (
    links
      .filter((bridge) => bridge.group === linkGroups.bridge && bridge.kind === 'bridge')
      // Plugins and older versions set no alias on a bridge.
      .filter((bridge) => bridge.alias === tag || bridge.alias === '')
      .filter((bridge) => !links.some((link) => link.master === bridge.index && !isOurs(link)))
      .map(({ name }) => ({ do: 'delete-bridge', name }))
  );
}
