import { ipBytes, ipFromBytes, formatIp, parsePrefix } from '../../../base/addresses/index.ts';
import {
  createLink,
  deleteRoute,
  findLink,
  isRefusal,
  listAddresses,
  listRoutes,
  listSettings,
  putAddress,
  replaceRoute,
  setAlias,
  setMaster,
  setUp,
} from '../../../base/netlink/index.ts';
import type { LinkSettings, NetlinkSocket } from '../../../base/netlink/index.ts';
import type { Resource, ResourceType } from '../contract/contract.ts';
import { deleteLink, podOf } from '../interface/child-link.ts';
import { interfaceMissing, linkTypeMissing } from '../interface/failures.ts';
import { sameRoute, tableRouteOf } from '../interface/pod-addresses.ts';
import type { PodAddresses, PodRoute } from '../interface/pod-addresses.ts';
import { vrfUnusable } from './failures.ts';

/** The pod's interface is a member of a VRF in the pod. */
export interface VrfMembership extends Resource {
  readonly kind: 'vrf-membership';
  readonly interface: string;
  readonly vrf: string;
  readonly table: number;
  /** Global IPv6 addresses of the interface before it joined, in CIDR form. */
  readonly addresses: readonly string[];
  /** Routes of the interface before it joined. They are in the VRF's table now. */
  readonly routes: readonly PodRoute[];
}

/** Attribute of the link type (linux/if_link.h). */
const IFLA_VRF_TABLE = 1;

/** Identifies a VRF that this plugin created. It ends with its last member. */
const ownAlias = 'portcullis:vrf';

/** Returns the routing table of a VRF; undefined for a link of another kind. */
export const tableOfVrf = ({ kind, data }: LinkSettings): number | undefined =>
  kind === 'vrf' ? data.get(IFLA_VRF_TABLE)?.readUInt32LE(0) : undefined;

export const vrfMembershipType: ResourceType<VrfMembership> = {
  kind: 'vrf-membership',
  ensure(resource, kernel) {
    const { route } = podOf(kernel, resource.interface);
    const vrf = ensureVrf(resource, route);
    const link = findLink(route, { name: resource.interface });
    if (link === undefined) throw interfaceMissing(resource.interface, 'pod');
    if (link.master !== vrf.index) {
      if (link.master !== 0)
        throw vrfUnusable(resource.vrf, `the pod's interface ${resource.interface} belongs to another link`);
      route.run([setMaster({ index: link.index }, vrf.index)]);
    }
    // The kernel takes the interface down and up when it joins, and drops what is lost when a link goes down.
    const kept = new Set(addressesOf(route, link.index));
    for (const text of resource.addresses) {
      const prefix = parsePrefix(text);
      if (prefix === undefined || kept.has(text)) continue;
      const own = { address: ipBytes(prefix.address), length: prefix.length };
      route.run([putAddress(link.index, own, { prefixRoute: true })]);
    }
    for (const entry of lacking(resource, route, link.index))
      route.run([replaceRoute(tableRouteOf({ ...entry, table: resource.table }, link.index))]);
  },
  differences(resource, kernel) {
    const { interface: name, vrf: wanted } = resource;
    const route = kernel.pod?.route;
    const link = route === undefined ? undefined : findLink(route, { name });
    if (route === undefined || link === undefined) return [`the pod has no interface ${name}`];
    const vrf = findLink(route, { name: wanted });
    const table = vrf === undefined ? undefined : tableOfVrf(vrf);
    if (vrf === undefined || table === undefined) return [`the pod has no VRF ${wanted}`];
    const addresses = new Set(addressesOf(route, link.index));
    return [
      ...(table === resource.table
        ? []
        : [`the VRF ${wanted} has the routing table ${table}, not ${resource.table}`]),
      ...(vrf.up ? [] : [`${wanted} is down`]),
      ...(link.master === vrf.index ? [] : [`${name} is not a member of the VRF ${wanted}`]),
      ...resource.addresses
        .filter((text) => !addresses.has(text))
        .map((text) => `${name} has no address ${text}`),
      ...lacking(resource, route, link.index).map(
        ({ dst }) => `table ${resource.table} has no route to ${dst} by ${name}`,
      ),
    ];
  },
  amend: (resource, earlier) =>
    isPodAddresses(earlier) && earlier.interface === resource.interface
      ? inTable(earlier, resource.table)
      : earlier,
  remove(resource, kernel) {
    const route = kernel.pod?.route;
    const vrf = route === undefined ? undefined : findLink(route, { name: resource.vrf });
    if (route === undefined || vrf === undefined || tableOfVrf(vrf) !== resource.table) return;
    const link = findLink(route, { name: resource.interface });
    if (link?.master === vrf.index) leave(resource, link, route);
    if (vrf.alias === ownAlias && !listSettings(route).some(({ master }) => master === vrf.index))
      deleteLink(kernel, 'pod', vrf.index);
  },
};

const isPodAddresses = (resource: Resource): resource is PodAddresses => resource.kind === 'pod-addresses';

const inTable = (earlier: PodAddresses, table: number): PodAddresses => ({
  ...earlier,
  routes: earlier.routes.map((route) => (route.table === undefined ? { ...route, table } : route)),
});

const addressesOf = (route: NetlinkSocket, index: number): string[] =>
  listAddresses(route, index).map(({ address, length }) => `${formatIp(ipFromBytes(address))}/${length}`);

/** Returns the routes that the VRF's table lacks. */
function lacking({ routes, table }: VrfMembership, route: NetlinkSocket, index: number): PodRoute[] {
  if (routes.length === 0) return [];
  const found = listRoutes(route);
  return routes.filter(
    (entry) => !found.some((each) => sameRoute(each, tableRouteOf({ ...entry, table }, index))),
  );
}

/** @throws NETWORK_VRF_UNUSABLE · NETWORK_LINK_TYPE_MISSING */
function ensureVrf({ vrf: name, table }: VrfMembership, route: NetlinkSocket): LinkSettings {
  if (findLink(route, { name }) === undefined) {
    try {
      // In one message, which a signal does not interrupt: the alias says who removes it.
      route.run([
        createLink({ name, of: { kind: 'vrf', table } }),
        setAlias({ name }, ownAlias),
        setUp({ name }),
      ]);
    } catch (thrown) {
      if (isRefusal(thrown, 'EOPNOTSUPP')) throw linkTypeMissing('vrf');
      throw thrown;
    }
  }
  const vrf = findLink(route, { name });
  if (vrf === undefined || tableOfVrf(vrf) !== table)
    throw vrfUnusable(name, `the pod has another link of that name, or a VRF without the table ${table}`);
  if (!vrf.up) route.run([setUp({ index: vrf.index })]);
  return vrf;
}

/** The routes of the interface leave with it: they would send traffic of other members. */
function leave({ routes, table }: VrfMembership, link: LinkSettings, route: NetlinkSocket): void {
  route.run([setMaster({ index: link.index }, 0)]);
  for (const entry of routes.toReversed()) {
    try {
      route.run([deleteRoute(tableRouteOf({ ...entry, table }, link.index))]);
    } catch (thrown) {
      if (!isRefusal(thrown, 'ESRCH', 'ENETDOWN', 'ENODEV')) throw thrown;
    }
  }
}
