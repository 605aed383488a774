import type { Link } from '../netlink/links.ts';
import { claimedLinks, hostInterfacePrefix, isByChain, linkGroups } from '../attach/record.ts';
import type { AttachmentRecord } from '../attach/record.ts';

/** Desired state against the kernel's: what is to be done. Pure, so that any history can be tried on it. */
export type Operation =
  /** Nobody was told of it, or it was going already: isolate, forget once the kernel has let go. */
  | { readonly do: 'release'; readonly id: string }
  /** Its link is gone, its namespace stands: make it again, with the same address. */
  | { readonly do: 'remake'; readonly id: string }
  /** Its link stands off its bridge, down, or in no group by which the rules tell it. */
  | { readonly do: 'rejoin'; readonly id: string }
  /** A link of ours that no record claims. */
  | { readonly do: 'delete-link'; readonly name: string }
  /** A bridge that we made and that nothing uses. */
  | { readonly do: 'delete-bridge'; readonly name: string };

type ReleaseOperation = Extract<Operation, { do: 'release' }>;
/** Gives back a link to a pod that runs. */
export type RepairOperation = Extract<Operation, { do: 'rejoin' | 'remake' }>;

export interface KernelState {
  readonly links: readonly Link[];
  /** Alias of links of this root. */
  readonly tag: string;
  /** Whether a pinned network namespace still stands at the path. */
  readonly namespaceStands: (path: string) => boolean;
}

export function planReconciliation(records: readonly AttachmentRecord[], kernel: KernelState): Operation[] {
  const claimed = new Set(records.flatMap(claimedLinks));
  // What plugins made they must take back themselves.
  const own = records.filter(({ spec }) => spec.chains === undefined);
  const kept = decisions(records, kernel);
  const stands = own.length < records.length || own.some(({ id, state }) => state === 'ready' && !isReleased(kept, id));
  return [
    ...unclaimedLinks(claimed, kernel).map(({ name }): Operation => ({ do: 'delete-link', name })),
    ...own.filter(({ state }) => state !== 'ready').map(({ id }): Operation => ({ do: 'release', id })),
    ...kept,
    ...(stands ? [] : unusedBridges(claimed, kernel)),
  ];
}

const isReleased = (operations: readonly Operation[], id: string): boolean =>
  operations.some((operation) => operation.do === 'release' && operation.id === id);

/** Links that stand otherwise than recorded, of pods whose namespace stands: what was lost since. */
export function planRepair(records: readonly AttachmentRecord[], kernel: KernelState): RepairOperation[] {
  return decisions(records, kernel).filter((operation) => operation.do !== 'release');
}

function decisions(records: readonly AttachmentRecord[], kernel: KernelState): (RepairOperation | ReleaseOperation)[] {
  const byName = new Map(kernel.links.map((link) => [link.name, link]));
  return records.filter(({ state }) => state === 'ready').flatMap((record) => decide(record, byName, kernel) ?? []);
}

function decide(
  { id, spec }: AttachmentRecord,
  links: ReadonlyMap<string, Link>,
  kernel: KernelState,
): RepairOperation | ReleaseOperation | undefined {
  // What a chain of plugins made is made again by these, if at all.
  if (isByChain(spec)) return undefined;
  const link = links.get(spec.hostInterface);
  if (link?.kind !== 'veth') {
    if (kernel.namespaceStands(spec.netns)) return { do: 'remake', id };
    return spec.chains === undefined ? { do: 'release', id } : undefined;
  }
  const bridge = links.get(spec.bridge.name);
  const stands = bridge !== undefined && link.master === bridge.index && link.up && bridge.up && link.group === linkGroups.pod;
  return stands ? undefined : { do: 'rejoin', id };
}

/** By group and name no other program's, and by its alias no other root's. */
export function unclaimedLinks(claimed: ReadonlySet<string>, { links, tag }: Pick<KernelState, 'links' | 'tag'>): Link[] {
  return links.filter((link) => inPodGroup(link) && link.alias === tag && !claimed.has(link.name));
}

/**
 * Links of pods that another root's daemon made, or a version that gave links no alias yet: nobody but that one knows whose they are. A link of
 * a pod is a veth pair, and stands for as long as the pod's namespace does.
 */
export function linksOfOthers(claimed: ReadonlySet<string>, { links, tag }: Pick<KernelState, 'links' | 'tag'>): Link[] {
  const groups: readonly number[] = [linkGroups.pod, linkGroups.routed];
  return links.filter(({ name, kind, group, alias }) => kind === 'veth' && groups.includes(group) && alias !== tag && !claimed.has(name));
}

const inPodGroup = ({ group, name }: Link): boolean =>
  (group === linkGroups.pod || group === linkGroups.doomed) && name.startsWith(hostInterfacePrefix);

/** Bridges of ours; one that carries somebody else's link stays. */
export function unusedBridges(claimed: ReadonlySet<string>, { links, tag }: Pick<KernelState, 'links' | 'tag'>): Operation[] {
  const isOurs = (link: Link): boolean => inPodGroup(link) && (link.alias === tag || claimed.has(link.name));
  return (
    links
      .filter((bridge) => bridge.group === linkGroups.bridge && bridge.kind === 'bridge')
      // Plugins and older versions give a bridge no alias.
      .filter((bridge) => bridge.alias === tag || bridge.alias === '')
      .filter((bridge) => !links.some((link) => link.master === bridge.index && !isOurs(link)))
      .map(({ name }) => ({ do: 'delete-bridge', name }))
  );
}
