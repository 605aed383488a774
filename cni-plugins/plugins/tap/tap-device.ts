import { isErrno, keepTap } from '../../../base/kernel/index.ts';
import { findLink, setMac, setMaster, setMtu } from '../../../base/netlink/index.ts';
import type { LinkSettings, NetlinkSocket, Request } from '../../../base/netlink/index.ts';
import type { Resource, ResourceKernel, ResourceType } from '../contract/contract.ts';
import { deleteLink, podOf } from '../interface/child-link.ts';
import { interfaceMissing, interfaceTaken, linkTypeMissing } from '../interface/failures.ts';

/** A TAP device in the pod. It ends with the pod's namespace. */
export interface TapDevice extends Resource {
  readonly kind: 'tap-device';
  readonly interface: string;
  readonly multiQueue: boolean;
  /** User and group whose programs may open it. */
  readonly owner?: number;
  readonly group?: number;
  readonly mac: string;
  readonly mtu?: number;
  /** A bridge in the pod of which it is a port. */
  readonly bridge?: string;
}

/** Attributes of the link type in the kernel's answer (linux/if_link.h). */
const IFLA_TUN_OWNER = 1;
const IFLA_TUN_GROUP = 2;
const IFLA_TUN_TYPE = 3;
const IFLA_TUN_MULTI_QUEUE = 7;
const IFF_TAP = 2;

export const tapDeviceType: ResourceType<TapDevice> = {
  kind: 'tap-device',
  ensure(resource, kernel) {
    const name = resource.interface;
    const { route } = podOf(kernel, name);
    const existing = findLink(route, { name });
    if (existing !== undefined && kindDifferences(resource, existing).length > 0)
      throw interfaceTaken(name, 'the pod has another link of that name');
    if (existing === undefined || accessDifferences(resource, existing).length > 0)
      keep(resource, kernel, route);
    else settle(resource, route);
    joinBridge(resource, route);
  },
  differences(resource, kernel) {
    const { interface: name, bridge } = resource;
    const route = kernel.pod?.route;
    const link = route === undefined ? undefined : findLink(route, { name });
    if (route === undefined || link === undefined) return [`the pod has no interface ${name}`];
    const ofKind = kindDifferences(resource, link);
    if (ofKind.length > 0) return ofKind;
    const master = bridge === undefined ? undefined : findLink(route, { name: bridge });
    return [
      ...accessDifferences(resource, link),
      ...(link.mac === resource.mac ? [] : [`${name} has the MAC address ${link.mac}, not ${resource.mac}`]),
      ...(resource.mtu === undefined || link.mtu === resource.mtu
        ? []
        : [`${name} has the MTU ${link.mtu}, not ${resource.mtu}`]),
      ...(bridge === undefined || (master !== undefined && link.master === master.index)
        ? []
        : [`${name} is not a port of the pod's bridge ${bridge}`]),
    ];
  },
  remove({ interface: name }, kernel) {
    const link = kernel.pod === undefined ? undefined : findLink(kernel.pod.route, { name });
    if (link?.kind === 'tun') deleteLink(kernel, 'pod', link.index);
  },
};

/** The settings are made before the device stays: a process that is killed leaves a whole device, or none. */
function keep(resource: TapDevice, kernel: ResourceKernel, route: NetlinkSocket): void {
  const { interface: name, multiQueue, owner, group } = resource;
  const settings = {
    multiQueue,
    ...(owner === undefined ? {} : { owner }),
    ...(group === undefined ? {} : { group }),
  };
  try {
    kernel.inPod(() => keepTap(name, settings, () => settle(resource, route)));
  } catch (thrown) {
    // Without the device node, or with a node behind which there is no driver.
    if (isErrno(thrown, 'ENOENT', 'ENODEV', 'ENXIO')) throw linkTypeMissing('tun');
    throw thrown;
  }
}

function settle({ interface: name, mac, mtu }: TapDevice, route: NetlinkSocket): void {
  const link = findLink(route, { name });
  if (link === undefined) throw interfaceMissing(name, 'pod');
  const changes: Request[] = [
    ...(link.mac === mac ? [] : [setMac(link.index, mac)]),
    ...(mtu === undefined || link.mtu === mtu ? [] : [setMtu(link.index, mtu)]),
  ];
  if (changes.length > 0) route.run(changes);
}

function joinBridge({ interface: name, bridge }: TapDevice, route: NetlinkSocket): void {
  if (bridge === undefined) return;
  const [link, master] = [findLink(route, { name }), findLink(route, { name: bridge })];
  if (link === undefined) throw interfaceMissing(name, 'pod');
  if (master === undefined) throw interfaceMissing(bridge, 'pod');
  if (link.master !== master.index) route.run([setMaster({ index: link.index }, master.index)]);
}

function kindDifferences({ interface: name, multiQueue }: TapDevice, link: LinkSettings): string[] {
  if (link.kind !== 'tun' || link.data.get(IFLA_TUN_TYPE)?.readUInt8(0) !== IFF_TAP)
    return [`${name} is a link of kind ${link.kind}, not a TAP device`];
  const several = link.data.get(IFLA_TUN_MULTI_QUEUE)?.readUInt8(0) === 1;
  return several === multiQueue ? [] : [`${name} ${several ? 'has several queues' : 'has one queue'}`];
}

/** A device without an owner and a group that were not asked for is as described. */
function accessDifferences({ interface: name, owner, group }: TapDevice, { data }: LinkSettings): string[] {
  const found = { owner: data.get(IFLA_TUN_OWNER), group: data.get(IFLA_TUN_GROUP) };
  return Object.entries({ owner, group }).flatMap(([which, wanted]) => {
    const id = found[which as keyof typeof found]?.readUInt32LE(0);
    return wanted === undefined || id === wanted
      ? []
      : [`${name} has ${id === undefined ? `no ${which}` : `the ${which} ${id}`}, not ${wanted}`];
  });
}
