import { formatIp, ipFromBytes } from '../../../base/addresses/index.ts';
import { findLink, listAddresses, listRoutes, listSettings, mainTable } from '../../../base/netlink/index.ts';
import type { NetlinkSocket, TableRoute } from '../../../base/netlink/index.ts';
import type { Plugin } from '../contract/contract.ts';
import { podOf } from '../interface/child-link.ts';
import { interfaceMissing } from '../interface/failures.ts';
import { podRouteOf } from '../interface/pod-addresses.ts';
import type { PodRoute } from '../interface/pod-addresses.ts';
import { previousOf } from '../interface/previous.ts';
import { isInterfaceName } from '../../spec/interface-name.ts';
import { vrfUnusable } from './failures.ts';
import { tableOfVrf } from './vrf-membership.ts';
import type { VrfMembership } from './vrf-membership.ts';

interface VrfConfig {
  readonly name: string;
  /** Absent: the table of the VRF if it exists, else the first one that no VRF has. */
  readonly table?: number;
}

/** Tables that also serve the interfaces outside of every VRF: linux/rtnetlink.h. */
const ownTables: ReadonlyMap<number, string> = new Map([
  [253, 'default'],
  [254, 'main'],
  [255, 'local'],
]);

interface Observed {
  readonly table: number;
  /** Global IPv6 addresses of the interface, in CIDR form: the kernel may drop them when it joins. */
  readonly addresses: readonly string[];
  /** Routes of the interface in the main table. */
  readonly routes: readonly PodRoute[];
}

/**
 * The pod's interface is a member of a VRF, whose routing table its traffic uses. Fields and semantics of the
 * upstream plugin vrf.
 */
export const vrf: Plugin<VrfConfig> = {
  type: 'vrf',
  role: 'chained',
  capabilities: [],
  read(config) {
    const name = config.text('vrfname') ?? '';
    if (name === '') config.problem('vrfname', "'vrfname' is missing: the name of the VRF in the pod");
    else if (!isInterfaceName(name))
      config.problem('vrfname', `${JSON.stringify(name)} is not an interface name`);
    const table = config.whole('table') ?? 0;
    if (table < 0 || table > 0xffffffff)
      config.problem('table', `${table} is not a routing table: 1 to 4294967295, or 0`);
    if (ownTables.has(table))
      config.problem('table', `${table} is the table ${ownTables.get(table)} of the kernel`);
    return { name, ...(table === 0 ? {} : { table }) };
  },
  observe({ name, table }, kernel, { key }): Observed {
    const { route } = podOf(kernel, key.interface);
    const link = findLink(route, { name: key.interface });
    if (link === undefined) throw interfaceMissing(key.interface, 'pod');
    if (link.master !== 0) {
      const master = findLink(route, { index: link.master })?.name ?? `#${link.master}`;
      throw vrfUnusable(name, `the pod's interface ${key.interface} already belongs to ${master}`);
    }
    return {
      table: tableFor(name, table, route),
      addresses: listAddresses(route, link.index)
        .filter(({ address }) => address.length === 16 && !isLinkLocal(address))
        .map(({ address, length }) => `${formatIp(ipFromBytes(address))}/${length}`),
      routes: listRoutes(route)
        .filter((entry) => entry.index === link.index && isCarried(entry))
        .map(podRouteOf)
        // The route to a gateway comes before the routes through it.
        .toSorted((a, b) => Number(a.gw !== undefined) - Number(b.gw !== undefined)),
    };
  },
  plan({ name }, input) {
    const previous = previousOf(input, 'vrf');
    const { table, addresses, routes } = input.observed as Observed;
    const membership: VrfMembership = {
      kind: 'vrf-membership',
      interface: input.key.interface,
      vrf: name,
      table,
      addresses,
      routes,
    };
    return { resources: [membership], result: previous };
  },
};

/** @throws NETWORK_VRF_UNUSABLE */
function tableFor(name: string, wanted: number | undefined, route: NetlinkSocket): number {
  const links = listSettings(route);
  const existing = links.find((link) => link.name === name);
  if (existing !== undefined) {
    const table = tableOfVrf(existing);
    if (table === undefined)
      throw vrfUnusable(
        name,
        `the pod's link of that name is of kind ${existing.kind === '' ? 'device' : existing.kind}`,
      );
    if (wanted !== undefined && wanted !== table)
      throw vrfUnusable(name, `it exists with the routing table ${table}, not ${wanted}`);
    return table;
  }
  if (wanted !== undefined) return wanted;
  const taken = new Set(links.map(tableOfVrf));
  let free = 1;
  while (taken.has(free)) free += 1;
  return free;
}

const isLinkLocal = (address: Uint8Array): boolean =>
  address[0] === 0xfe && ((address[1] ?? 0) & 0xc0) === 0x80;

/**
 * Returns whether the route must be in the VRF's table afterwards. The kernel itself moves the routes to
 * link-local and multicast addresses.
 */
const isCarried = ({ table, destination, length }: TableRoute): boolean =>
  table === mainTable &&
  (destination.length === 4 || length === 0 || !(isLinkLocal(destination) || destination[0] === 0xff));
