import type { PortcullisError } from '../../../base/errors/index.ts';
import { NETLINK_ROUTE } from '../../../base/kernel/index.ts';
import {
  isRefusal,
  changeMode,
  createLink,
  ipvlanModes,
  macvlanModes,
  findLink,
  macBytes,
  rename,
  setMac,
  setMtu,
  removeLink,
  openNetlink,
} from '../../../base/netlink/index.ts';
import type { LinkKind, LinkSettings, NetlinkSocket } from '../../../base/netlink/index.ts';
import type { Resource, ResourceKernel, ResourceType } from '../contract/contract.ts';
import { interfaceTaken, linkTypeMissing, masterInUse, masterMissing, namespaceGone } from './failures.ts';
import { linkNameOf } from './link-names.ts';

/** A link in the pod on top of a link of the host (or of the pod). It ends with the pod's namespace. */
export interface ChildLink extends Resource {
  readonly kind: 'child-link';
  readonly interface: string;
  readonly of: Extract<LinkKind, { kind: 'macvlan' | 'ipvlan' | 'vlan' }>;
  readonly master: string;
  readonly masterIn: 'host' | 'pod';
  readonly mac?: string;
  readonly mtu?: number;
}

/** A veth pair between the host and a pod. */
export interface VethPair extends Resource {
  readonly hostInterface: string;
  readonly hostMac: string;
  /** The pod's end. */
  readonly interface: string;
  readonly mac: string;
  readonly mtu: number;
  /** MTU of the pod's end, where a later plugin of the chain changed it. */
  readonly podMtu?: number;
  /** Whether the host's end is in the group by which the link rules recognize the links of its kind. */
  readonly bound?: boolean;
}

const socketOf = (masterIn: 'host' | 'pod', kernel: ResourceKernel, name: string): NetlinkSocket =>
  masterIn === 'host' ? kernel.host.route : podOf(kernel, name).route;

/** @throws NETWORK_NETNS_MISSING */
export function podOf(kernel: ResourceKernel, name: string): NonNullable<ResourceKernel['pod']> {
  if (kernel.pod === undefined) throw namespaceGone(name);
  return kernel.pod;
}

export const childLinkType: ResourceType<ChildLink> = {
  kind: 'child-link',
  ensure(resource, kernel, key) {
    const pod = podOf(kernel, resource.interface);
    const existing = findLink(pod.route, { name: resource.interface });
    if (existing !== undefined && existing.kind !== resource.of.kind) throw takenBy(existing);
    if (existing !== undefined) return settle(resource, existing, pod.route);
    const temporary = linkNameOf('pc', key);
    const born = findLink(pod.route, { name: temporary }) ?? create(resource, temporary, kernel);
    pod.route.run([rename(born.index, resource.interface)]);
  },
  differences(resource, kernel) {
    const link =
      kernel.pod === undefined ? undefined : findLink(kernel.pod.route, { name: resource.interface });
    if (link === undefined) return [`the pod has no interface ${resource.interface}`];
    const name = resource.interface;
    if (link.kind !== resource.of.kind)
      return [`${name} is a link of kind ${link.kind}, not ${resource.of.kind}`];
    const master = findLink(socketOf(resource.masterIn, kernel, name), { name: resource.master });
    return [
      ...(master === undefined ? [`the master ${resource.master} is gone`] : []),
      ...(master !== undefined && master.index !== link.peer ? [`${name} is not on ${resource.master}`] : []),
      ...(resource.mac !== undefined && link.mac !== resource.mac
        ? [`${name} has the MAC address ${link.mac}, not ${resource.mac}`]
        : []),
      ...(resource.mtu !== undefined && link.mtu !== resource.mtu
        ? [`${name} has the MTU ${link.mtu}, not ${resource.mtu}`]
        : []),
      ...kindDifferences(resource, link),
    ];
  },
  remove(resource, kernel, key) {
    if (kernel.pod === undefined) return;
    for (const name of [resource.interface, linkNameOf('pc', key)]) {
      const link = findLink(kernel.pod.route, { name });
      if (link?.kind === resource.of.kind) deleteLink(kernel, 'pod', link.index);
    }
  },
};

/**
 * Called before anything is created: an ADD must find no interface of that name (CNI specification 1.1,
 * section 2). @throws NETWORK_INTERFACE_TAKEN
 */
export function requireFree(name: string, kernel: ResourceKernel): void {
  const existing = findLink(podOf(kernel, name).route, { name });
  if (existing !== undefined) throw takenBy(existing);
}

const takenBy = ({ name, kind }: LinkSettings): PortcullisError =>
  interfaceTaken(name, `the pod has a ${kind === '' ? 'device' : `link of kind ${kind}`} of that name`);

/**
 * Restores what others changed on an existing link. The mode of ipvlan belongs to the master, and all pods on
 * it would get it.
 */
function settle(resource: ChildLink, link: LinkSettings, pod: NetlinkSocket): void {
  const { mac, mtu, of } = resource;
  pod.run([
    ...(of.kind === 'macvlan' && kindDifferences(resource, link).length > 0
      ? [changeMode(link.index, of)]
      : []),
    ...(mac === undefined || link.mac === mac ? [] : [setMac(link.index, mac)]),
    ...(mtu === undefined || link.mtu === mtu ? [] : [setMtu(link.index, mtu)]),
  ]);
}

/**
 * Deletes a veth pair. If the host has no link of its name, another program renamed or moved it: then the
 * pod's end, with its name and MAC address, shows which pair it is. Succeeds when the pair is gone.
 */
export function deletePair(
  {
    hostInterface,
    interface: name,
    mac,
  }: { readonly hostInterface: string; readonly interface: string; readonly mac: string },
  kernel: ResourceKernel,
): void {
  const end = findLink(kernel.host.route, { name: hostInterface });
  if (end?.kind === 'veth') return deleteLink(kernel, 'host', end.index);
  const inside = kernel.pod === undefined ? undefined : findLink(kernel.pod.route, { name });
  if (inside?.kind === 'veth' && inside.mac === mac) deleteLink(kernel, 'pod', inside.index);
}

/** Deletes a link. Succeeds when the link is gone. */
export function deleteLink(kernel: ResourceKernel, where: 'host' | 'pod', index: number): void {
  const open = (): NetlinkSocket => openNetlink(NETLINK_ROUTE);
  if (where === 'host') removeLink(kernel.host.route, index, () => kernel.inHost(open));
  else if (kernel.pod !== undefined) removeLink(kernel.pod.route, index, () => kernel.inPod(open));
}

/**
 * Creates the link under a temporary name: the kernel also looks for the wanted name in the master's
 * namespace, and would find the host's eth0.
 */
function create(resource: ChildLink, name: string, kernel: ResourceKernel): LinkSettings {
  const pod = podOf(kernel, resource.interface);
  const socket = socketOf(resource.masterIn, kernel, resource.interface);
  const parent = findLink(socket, { name: resource.master });
  if (parent === undefined) throw masterMissing(resource.master, resource.masterIn);
  try {
    socket.run([
      createLink({
        name,
        of: resource.of,
        parent: parent.index,
        netnsFd: pod.netnsFd,
        ...(resource.mac === undefined ? {} : { mac: macBytes(resource.mac) }),
        ...(resource.mtu === undefined ? {} : { mtu: resource.mtu }),
      }),
    ]);
  } catch (thrown) {
    if (isRefusal(thrown, 'EOPNOTSUPP')) throw linkTypeMissing(resource.of.kind);
    throw inUse(resource, parent, thrown) ?? thrown;
  }
  const born = findLink(pod.route, { name });
  if (born === undefined) throw masterMissing(resource.master, resource.masterIn);
  return born;
}

/** Returns the error if other links on the master are the reason why the kernel refuses this one. */
function inUse(
  { of, master }: ChildLink,
  { mac }: LinkSettings,
  thrown: unknown,
): PortcullisError | undefined {
  if (of.kind === 'vlan')
    return isRefusal(thrown, 'EEXIST')
      ? masterInUse(
          master,
          `VLAN ${of.id}`,
          'a pod or the host already has this VLAN of it',
          "use another 'vlanId', or a bridge on the VLAN for several pods",
        )
      : undefined;
  const link = `${of.kind} ${of.mode}`;
  // Each link has one receive handler (netdev_rx_handler_register).
  if (isRefusal(thrown, 'EBUSY'))
    return masterInUse(master, link, 'it belongs to a bridge or bond, or has links of another kind');
  // A link without a MAC address, such as a tunnel, is refused with the same number.
  if (of.kind === 'macvlan' && !/^[0:]*$/u.test(mac) && isRefusal(thrown, 'EINVAL'))
    return masterInUse(
      master,
      link,
      'the kernel answered EINVAL: a macvlan link of the mode passthru is the only one on its master',
    );
  return undefined;
}

function kindDifferences(resource: ChildLink, link: LinkSettings): string[] {
  const { of, interface: name } = resource;
  const data = link.data.get(1);
  if (of.kind === 'vlan') {
    const id = data?.readUInt16LE(0);
    return id === of.id ? [] : [`${name} has the VLAN ${id}, not ${of.id}`];
  }
  const found = of.kind === 'macvlan' ? data?.readUInt32LE(0) : data?.readUInt16LE(0);
  const wanted = of.kind === 'macvlan' ? macvlanModes[of.mode] : ipvlanModes[of.mode];
  const modes: Readonly<Record<string, number>> = of.kind === 'macvlan' ? macvlanModes : ipvlanModes;
  const nameOf = (mode: number | undefined): string =>
    Object.entries(modes).find(([, number]) => number === mode)?.[0] ?? String(mode);
  return found === wanted ? [] : [`${name} has the mode ${nameOf(found)}, not ${of.mode}`];
}
