import { readFileSync } from 'node:fs';
import { ipBytes, ipFromBytes, parseIp } from '../../../base/addresses/index.ts';
import type { IpAddress } from '../../../base/addresses/index.ts';
import {
  acknowledged,
  appendRoute,
  createPair,
  findLink,
  listAddresses,
  listRoutes,
  macBytes,
  mainTable,
  putAddress,
  routeScopes,
  setFlag,
  setMac,
  setMtu,
  setNoOwnIpv6,
  tolerating,
} from '../../../base/netlink/index.ts';
import type { LinkSettings, NetlinkSocket, TableRoute } from '../../../base/netlink/index.ts';
import type { ResourceKernel, ResourceType } from '../contract/contract.ts';
import { deleteLink, deletePair, podOf } from '../interface/child-link.ts';
import type { VethPair } from '../interface/child-link.ts';
import { interfaceTaken } from '../interface/failures.ts';
import { ignoreRouters, put, sameRoute } from '../interface/pod-addresses.ts';

/**
 * A veth pair. The host's end has the gateways' addresses and the routes to the pod's. It ends with either
 * end.
 */
export interface RoutedPair extends VethPair {
  readonly kind: 'routed-pair';
  readonly ends: readonly { readonly gateway: string; readonly pod: string }[];
}

const routedGroup = 0x70630005;
const ownLength = ({ family }: IpAddress): number => (family === 4 ? 32 : 128);

function addressOf(text: string): IpAddress {
  const address = parseIp(text);
  if (address === undefined) throw new Error(`${text} was stored unread`);
  return address;
}

function hostRoute(text: string, index: number): TableRoute {
  const address = addressOf(text);
  const scope = address.family === 4 ? routeScopes.host : routeScopes.universe;
  return { index, destination: ipBytes(address), length: ownLength(address), table: mainTable, scope };
}

export const routedPairType: ResourceType<RoutedPair> = {
  kind: 'routed-pair',
  ensure(resource, kernel) {
    const { route } = kernel.host;
    const end = existing(resource, kernel) ?? create(resource, kernel);
    // The host resolves the pod's MAC address from the link-local address of its end, which is then valid at
    // once.
    kernel.inHost(() => {
      put(`/proc/sys/net/ipv6/conf/${end.name}/accept_dad`, '0');
      ignoreRouters(end.name);
    });
    route.run([
      ...resource.ends.map(({ gateway }) => {
        const address = addressOf(gateway);
        return putAddress(
          end.index,
          { address: ipBytes(address), length: ownLength(address) },
          { prefixRoute: true },
        );
      }),
      setFlag(end.index, 'up', true),
    ]);
    for (const { pod } of resource.ends)
      tolerating(['EEXIST'], () => route.run([appendRoute(hostRoute(pod, end.index))]));
    kernel.inHost(() => forwardingFiles(resource).forEach((file) => put(file, '1')));
  },
  differences(resource, kernel) {
    const { route } = kernel.host;
    const end = findLink(route, { name: resource.hostInterface });
    if (end === undefined) return [`the host has no link ${resource.hostInterface}`];
    const pod =
      kernel.pod === undefined ? undefined : findLink(kernel.pod.route, { name: resource.interface });
    if (pod === undefined) return [`the pod has no interface ${resource.interface}`];
    const addresses = listAddresses(route, end.index);
    const routes = listRoutes(route);
    return [
      ...(end.up ? [] : [`${end.name} is down`]),
      ...(end.kind === 'veth' && end.peer === pod.index
        ? []
        : [`${end.name} is not the other end of ${pod.name}`]),
      ...unsettled(end, { mac: resource.hostMac, mtu: resource.mtu }),
      ...unsettled(pod, { mac: resource.mac, mtu: podMtuOf(resource) }),
      ...resource.ends
        .filter(
          ({ gateway }) =>
            !addresses.some(({ address }) => ipFromBytes(address).value === addressOf(gateway).value),
        )
        .map(({ gateway }) => `${end.name} has no address ${gateway}`),
      ...resource.ends
        .filter(({ pod: own }) => !routes.some((found) => sameRoute(found, hostRoute(own, end.index))))
        .map(({ pod: own }) => `the host has no route to ${own} by ${end.name}`),
      ...kernel
        .inHost(() => forwardingFiles(resource).filter((file) => !isOn(file)))
        .map((file) => `${file} is not 1`),
    ];
  },
  remove: deletePair,
};

/** Returns the host's end when the pair is complete. */
function existing(resource: RoutedPair, kernel: ResourceKernel): LinkSettings | undefined {
  const { route } = kernel.host;
  const { route: inside } = podOf(kernel, resource.interface);
  const end = findLink(route, { name: resource.hostInterface });
  const pod = findLink(inside, { name: resource.interface });
  if (end !== undefined && pod !== undefined && end.kind === 'veth' && end.peer === pod.index) {
    settle(end, { mac: resource.hostMac, mtu: resource.mtu }, route);
    settle(pod, { mac: resource.mac, mtu: podMtuOf(resource) }, inside);
    return end;
  }
  // If the other end is not this pair's, the link belongs to a former pod.
  if (end?.kind === 'veth') deleteLink(kernel, 'host', end.index);
  else if (end !== undefined)
    throw interfaceTaken(end.name, 'the host has a link of that name that is not a veth');
  if (pod !== undefined && findLink(inside, { name: resource.interface }) !== undefined)
    throw interfaceTaken(resource.interface, 'the pod has an interface of that name');
  return undefined;
}

interface End {
  readonly mac: string;
  readonly mtu: number;
}

const podMtuOf = ({ podMtu, mtu }: RoutedPair): number => podMtu ?? mtu;

const unsettled = ({ name, mac, mtu }: LinkSettings, own: End): string[] => [
  ...(mac === own.mac ? [] : [`${name} has the MAC address ${mac}, not ${own.mac}`]),
  ...(mtu === own.mtu ? [] : [`${name} has the MTU ${mtu}, not ${own.mtu}`]),
];

/** Restores what others changed on an existing end. */
const settle = ({ index, mac, mtu }: LinkSettings, own: End, route: NetlinkSocket): void =>
  route.run([
    ...(mac === own.mac ? [] : [setMac(index, own.mac)]),
    ...(mtu === own.mtu ? [] : [setMtu(index, own.mtu)]),
  ]);

function create(resource: RoutedPair, kernel: ResourceKernel): LinkSettings {
  const { netnsFd } = podOf(kernel, resource.interface);
  const { hostInterface, hostMac, interface: name, mac, mtu } = resource;
  // From creation on: without its own element nothing passes it.
  const group = resource.bound === true ? { group: routedGroup } : {};
  kernel.host.route.run([
    createPair(
      { name: hostInterface, mac: macBytes(hostMac), ...group },
      { name, mac: macBytes(mac), netnsFd },
      mtu,
    ),
  ]);
  if (resource.bound === true && !resource.ends.some(({ pod }) => pod.includes(':')))
    keepSilent(resource, kernel);
  const end = findLink(kernel.host.route, { name: hostInterface });
  if (end === undefined) throw interfaceTaken(hostInterface, 'it disappeared while it was created');
  return end;
}

/**
 * Keeps the kernels at both ends from soliciting routers and neighbours over IPv6. Those packets do not have
 * the pod's address: they would be denied, and reported as if the pod had sent them.
 */
function keepSilent({ hostInterface, interface: name }: RoutedPair, kernel: ResourceKernel): void {
  // A kernel without IPv6 refuses this.
  kernel.host.route.exchange([acknowledged(setNoOwnIpv6({ name: hostInterface }))]);
  podOf(kernel, name).route.exchange([acknowledged(setNoOwnIpv6({ name }))]);
}

const isOn = (file: string): boolean => readFileSync(file, 'utf8').trim() === '1';

function forwardingFiles(resource: RoutedPair): string[] {
  const families = new Set(resource.ends.map(({ pod }) => addressOf(pod).family));
  return [
    ...(families.has(4) ? ['/proc/sys/net/ipv4/ip_forward'] : []),
    ...(families.has(6) ? ['/proc/sys/net/ipv6/conf/all/forwarding'] : []),
  ];
}
