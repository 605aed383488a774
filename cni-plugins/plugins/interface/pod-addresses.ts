import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import {
  canonicalPrefix,
  formatIp,
  ipBytes,
  ipFromBytes,
  networkOf,
  parseIp,
  parsePrefix,
} from '../../../base/addresses/index.ts';
import type { CniRoute } from '../../spec/result.ts';
import {
  acknowledged,
  appendRoute,
  findLink,
  listAddresses,
  listRoutes,
  mainTable,
  putAddress,
  replaceRoute,
  routeScopes,
  setArpNotify,
  setFlag,
} from '../../../base/netlink/index.ts';
import type { LinkSettings, TableRoute, NetlinkSocket, Request } from '../../../base/netlink/index.ts';
import type { Resource, ResourceKernel, ResourceType } from '../contract/contract.ts';
import { podOf } from './child-link.ts';
import { duplicateAddress, interfaceMissing } from './failures.ts';
import { podIndexOf } from './pod-index.ts';

/** A pod's interface that is up, with these addresses and routes. They end with the interface. */
export interface PodAddresses extends Resource {
  readonly kind: 'pod-addresses';
  readonly interface: string;
  /** CIDR. */
  readonly addresses: readonly string[];
  readonly routes: readonly PodRoute[];
  /** Whether there are routes to the addresses' own networks. */
  readonly prefixRoutes: boolean;
  /** Whether it notifies the neighbours when the interface comes up or changes its MAC address. */
  readonly announces: boolean;
  /** Whether IPv6 addresses are used only after duplicate address detection; ADD waits for it. */
  readonly detectsDuplicates?: boolean;
}

export interface PodRoute extends CniRoute {
  /** Source address of packets on this route. */
  readonly src?: string;
}

export const podAddressesType: ResourceType<PodAddresses> = {
  kind: 'pod-addresses',
  ensure(resource, kernel) {
    const { route } = podOf(kernel, resource.interface);
    const index = podIndexOf(route, resource.interface);
    if (index === undefined) throw interfaceMissing(resource.interface, 'pod');
    prepare(resource, kernel);
    const settings = [
      ...(resource.announces ? [setArpNotify({ index })] : []),
      ...resource.addresses.flatMap((text) => {
        const prefix = parsePrefix(text);
        return prefix === undefined
          ? []
          : [
              putAddress(
                index,
                { address: ipBytes(prefix.address), length: prefix.length },
                {
                  prefixRoute: resource.prefixRoutes,
                  detectsDuplicates: resource.detectsDuplicates === true,
                },
              ),
            ];
      }),
      setFlag(index, 'up', true),
    ];
    runTolerating(
      'EEXIST',
      route,
      settings,
      resource.detectsDuplicates === true ? [] : routesOf(resource, index),
    );
  },
  complete(resource, kernel, waitedMs) {
    if (resource.detectsDuplicates !== true) return 'done';
    const { route } = podOf(kernel, resource.interface);
    const index = podIndexOf(route, resource.interface);
    if (index === undefined) throw interfaceMissing(resource.interface, 'pod');
    if (isDetecting(route, index, resource.interface, waitedMs)) return 'pending';
    runTolerating('EEXIST', route, [], routesOf(resource, index));
    return 'done';
  },
  differences(resource, kernel) {
    const { interface: name } = resource;
    const route = kernel.pod?.route;
    const link = route === undefined ? undefined : findLink(route, { name });
    if (route === undefined || link === undefined) return [`the pod has no interface ${name}`];
    const present = presentRoutes(resource, link, route);
    return [
      ...(link.up ? [] : [`${name} is down`]),
      ...missingAddresses(resource, link, route).map((text) => `${name} has no address ${text}`),
      ...resource.routes
        .filter((entry) => !present.includes(entry))
        .map(
          (entry) => `${name} has no route to ${entry.dst}${entry.gw === undefined ? '' : ` by ${entry.gw}`}`,
        ),
    ];
  },
  remove: () => undefined,
};

function missingAddresses(resource: PodAddresses, { index }: LinkSettings, route: NetlinkSocket): string[] {
  const present = new Set(
    listAddresses(route, index).map(({ address, length }) => `${formatIp(ipFromBytes(address))}/${length}`),
  );
  return resource.addresses.filter((text) => !present.has(canonicalPrefix(text) ?? text));
}

function presentRoutes({ routes }: PodAddresses, { index }: LinkSettings, route: NetlinkSocket): PodRoute[] {
  const found = routes.length === 0 ? [] : listRoutes(route);
  return routes.filter((entry) => found.some((each) => sameRoute(each, tableRouteOf(entry, index))));
}

/**
 * Returns the resource with only the routes that exist, if nothing else of it is missing: the kernel removes
 * routes together with an address, and when the link goes down.
 */
export function withPresentRoutes(resource: Resource, link: LinkSettings, { pod }: ResourceKernel): Resource {
  if (!isPodAddresses(resource) || pod === undefined || !link.up) return resource;
  if (missingAddresses(resource, link, pod.route).length > 0) return resource;
  const routes = presentRoutes(resource, link, pod.route);
  // An engine that was killed during the detection has set no route.
  if (resource.detectsDuplicates === true && routes.length === 0) return resource;
  const amended: PodAddresses = { ...resource, routes };
  return amended;
}

export const isPodAddresses = (resource: Resource): resource is PodAddresses =>
  resource.kind === 'pod-addresses';

const detectionDeadlineMs = 10_000;

/**
 * Returns whether neighbours may still claim one of the addresses. @throws NETWORK_ADDRESS_TAKEN, as upstream
 */
function isDetecting(route: NetlinkSocket, index: number, name: string, waitedMs: number): boolean {
  const own = listAddresses(route, index);
  if (own.some(({ detection }) => detection === 'duplicate'))
    throw duplicateAddress(name, 'a neighbour has the same IPv6 address');
  if (!own.some(({ detection }) => detection === 'under way')) return false;
  if (waitedMs > detectionDeadlineMs)
    throw duplicateAddress(name, `duplicate address detection took longer than ${detectionDeadlineMs} ms`);
  return true;
}

const routesOf = (resource: PodAddresses, index: number): Request[] =>
  resource.routes.map((entry) => putRoute(tableRouteOf(entry, index)));

/** The kernel stores these for larger values (net/ipv4/metrics.c). */
const largestMtu = 65_535 - 15;
const largestAdvmss = 65_535 - 40;

/** Returns the route in the kernel's form. @param index of the outgoing link */
export function tableRouteOf(entry: PodRoute, index: number): TableRoute {
  const prefix = parsePrefix(entry.dst);
  const gateway = entry.gw === undefined ? undefined : parseIp(entry.gw);
  const source = entry.src === undefined ? undefined : parseIp(entry.src);
  if (prefix === undefined) throw new Error(`the route to ${entry.dst} was stored unread`);
  return {
    index,
    destination: ipBytes(networkOf(prefix)),
    length: prefix.length,
    table: entry.table ?? mainTable,
    scope: entry.scope ?? routeScopes.universe,
    ...(gateway === undefined ? {} : { gateway: ipBytes(gateway) }),
    ...(source === undefined ? {} : { source: ipBytes(source) }),
    ...(entry.priority === undefined ? {} : { priority: entry.priority }),
    ...(entry.mtu === undefined ? {} : { mtu: Math.min(entry.mtu, largestMtu) }),
    ...(entry.advmss === undefined ? {} : { advmss: Math.min(entry.advmss, largestAdvmss) }),
  };
}

/** Returns the kernel's route as a route of a pod, without its table. */
export function podRouteOf(route: TableRoute): PodRoute {
  return {
    dst: `${formatIp(ipFromBytes(route.destination))}/${route.length}`,
    ...(route.gateway === undefined ? {} : { gw: formatIp(ipFromBytes(route.gateway)) }),
    ...(route.source === undefined ? {} : { src: formatIp(ipFromBytes(route.source)) }),
    ...(route.scope === 0 ? {} : { scope: route.scope }),
    ...(route.priority === undefined ? {} : { priority: route.priority }),
    ...(route.mtu === undefined ? {} : { mtu: route.mtu }),
    ...(route.advmss === undefined ? {} : { advmss: route.advmss }),
  };
}

const sameBytes = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean =>
  a === undefined || b === undefined ? a === b : Buffer.from(a).equals(b);

/**
 * Returns whether the kernel's route is the wanted one. A priority or metric that was not requested is the
 * kernel's own.
 */
export function sameRoute(found: TableRoute, wanted: TableRoute): boolean {
  return (
    found.index === wanted.index &&
    found.length === wanted.length &&
    found.table === wanted.table &&
    sameBytes(found.destination, wanted.destination) &&
    sameBytes(found.gateway, wanted.gateway) &&
    (wanted.source === undefined || sameBytes(found.source, wanted.source)) &&
    (wanted.priority === undefined || found.priority === wanted.priority) &&
    (wanted.mtu === undefined || found.mtu === wanted.mtu) &&
    (wanted.advmss === undefined || found.advmss === wanted.advmss)
  );
}

/**
 * An IPv6 route outlives its source address and loses it. Such a route without its source blocks the complete
 * one, so it is replaced. IPv4 routes go with the address, and several may lead to one destination.
 */
const putRoute = (route: TableRoute): Request =>
  route.source?.length === 16 ? replaceRoute(route) : appendRoute(route);

/**
 * Sends all requests in one message. @param settings none may be refused @param tolerated each may be refused
 * with this errno: it exists already
 */
function runTolerating(
  errno: string,
  socket: NetlinkSocket,
  settings: readonly Request[],
  tolerated: readonly Request[],
): void {
  for (const [index, { refused }] of socket.exchange([...settings, ...tolerated].map(acknowledged)).entries())
    if (refused !== undefined && (index < settings.length || refused.errno !== errno)) throw refused.error();
}

/**
 * Makes the interface accept IPv6 addresses, keep them when it goes down, and announce itself as well as
 * possible. Only for interfaces with such addresses: the first access to /proc/sys of a new namespace takes
 * the kernel longer than everything else here.
 */
function prepare(resource: PodAddresses, kernel: ResourceKernel): void {
  if (!resource.addresses.some((text) => text.includes(':'))) return;
  kernel.inPod(() => {
    const conf = (link: string, name: string): string => `/proc/sys/net/ipv6/conf/${link}/${name}`;
    for (const link of ['lo', resource.interface]) put(conf(link, 'disable_ipv6'), '0');
    put(conf(resource.interface, 'keep_addr_on_down'), '1');
    // The addresses are ours. Unless requested, duplicate address detection, which takes a second, is off,
    // also for the link-local address.
    put(conf(resource.interface, 'accept_dad'), resource.detectsDuplicates === true ? '1' : '0');
    if (resource.announces) put(conf(resource.interface, 'ndisc_notify'), '1');
  });
}

/**
 * Makes a link of this network namespace ignore router advertisements: a pod behind it could otherwise become
 * the default router of the host, and give it addresses (CVE-2020-10749).
 */
export const ignoreRouters = (link: string): void => put(`/proc/sys/net/ipv6/conf/${link}/accept_ra`, '0');

/** Writes a sysctl unless it already has the value. A kernel without IPv6 has no such files. */
export function put(file: string, value: string): void {
  if (existsSync(file) && readFileSync(file, 'utf8').trim() !== value) writeFileSync(file, value);
}
