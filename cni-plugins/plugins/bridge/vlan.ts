import { PortcullisError } from '../../../base/errors/index.ts';
import {
  addVlans,
  createLink,
  deleteVlan,
  filtersVlans,
  findLink,
  listVlans,
  setUp,
  setVlanFiltering,
  tolerating,
} from '../../../base/netlink/index.ts';
import type { PortVlan, LinkSettings, NamedLink, Link, NetlinkSocket } from '../../../base/netlink/index.ts';
import type { ResourceKernel } from '../contract/contract.ts';
import { interfaceTaken } from '../interface/failures.ts';
import { ignoreRouters } from '../interface/pod-addresses.ts';

/** VLANs on the bridge: of a port (`vlan`, `vlanTrunk`) and of the gateway's addresses. */

/**
 * The initial VLAN of every port of a filtering bridge, unless the bridge sets another one
 * (`vlan_default_pvid`).
 */
const defaultVlan = 1;

/** @throws NETWORK_FIELD_UNSUPPORTED where the kernel has no VLAN filtering */
export function ensureVlanFiltering(route: NetlinkSocket, bridge: NamedLink): void {
  if (filtersVlans(route, bridge.index)) return;
  route.run([setVlanFiltering(bridge.index)]);
  if (!filtersVlans(route, bridge.index)) throw unsupported(bridge.name);
}

const vlanGatewayName = (bridge: string, vlan: number): string => `${bridge}.${vlan}`;

/** Returns the link with the gateway's addresses in a VLAN, if it exists as wanted. */
export const vlanGateway = (
  route: NetlinkSocket,
  bridge: NamedLink,
  vlan: number,
): LinkSettings | undefined => {
  const link = findLink(route, { name: vlanGatewayName(bridge.name, vlan) });
  return link?.kind === 'vlan' &&
    link.peer === bridge.index &&
    link.data.get(vlanId)?.readUInt16LE(0) === vlan
    ? link
    : undefined;
};

/** IFLA_VLAN_ID (linux/if_link.h). */
const vlanId = 1;

/**
 * Ensures the link with the gateway's addresses in a VLAN: `cni0.100` on `cni0`. @returns its index
 * @throws NETWORK_INTERFACE_TAKEN where another link has its name
 */
export function ensureVlanGateway(kernel: ResourceKernel, bridge: NamedLink, vlan: number): number {
  const { route } = kernel.host;
  const name = vlanGatewayName(bridge.name, vlan);
  route.run([addVlans(bridge.index, [{ id: vlan, untagged: false }], true)]);
  tolerating(['EEXIST'], () =>
    route.run([createLink({ name, of: { kind: 'vlan', id: vlan }, parent: bridge.index })]),
  );
  const link = vlanGateway(route, bridge, vlan);
  if (link === undefined)
    throw interfaceTaken(name, `the host has a link of that name that is not VLAN ${vlan} of ${bridge.name}`);
  kernel.inHost(() => ignoreRouters(name));
  route.run([setUp({ index: link.index })]);
  return link.index;
}

/** Returns the differences of the bridge itself. @param vlan VLAN of its gateway's addresses; 0: none */
export function vlanDifferences(route: NetlinkSocket, bridge: Link, vlan: number): string[] {
  const gateway = vlan === 0 ? undefined : vlanGateway(route, bridge, vlan);
  return [
    ...(filtersVlans(route, bridge.index) ? [] : [`the bridge ${bridge.name} does not filter VLANs`]),
    ...(vlan === 0 || listVlans(route, bridge.index).some(({ id }) => id === vlan)
      ? []
      : [`${bridge.name} is not in VLAN ${vlan}`]),
    ...(vlan === 0 || gateway !== undefined
      ? []
      : [`there is no link ${vlanGatewayName(bridge.name, vlan)}`]),
    ...(gateway === undefined || gateway.up ? [] : [`${gateway.name} is down`]),
  ];
}

export interface PortVlans {
  readonly vlan: number;
  readonly trunk: readonly number[];
  readonly keepDefaultVlan: boolean;
}

/** A message holds a few thousand VLANs at most; a trunk may have all VLANs. */
const vlansAMessage = 1000;

/**
 * As upstream: a trunk without `vlan` carries untagged frames in VLAN 1, whatever the bridge's default is.
 */
function vlansOf({ vlan, trunk }: PortVlans): PortVlan[] {
  if (vlan === 0 && trunk.length === 0) return [];
  const native = vlan === 0 ? defaultVlan : vlan;
  return [
    ...trunk.filter((id) => id !== native).map((id) => ({ id, untagged: false })),
    { id: native, untagged: true },
  ];
}

export function ensurePortVlans(route: NetlinkSocket, index: number, port: PortVlans): void {
  const wanted = vlansOf(port);
  for (let at = 0; at < wanted.length; at += vlansAMessage)
    route.run([addVlans(index, wanted.slice(at, at + vlansAMessage))]);
  if (wanted.length > 0 && !port.keepDefaultVlan)
    for (const id of furtherVlans(route, index, wanted)) route.run([deleteVlan(index, id)]);
}

/** Returns the VLANs to remove: the initial one of the port, and those that other programs added. */
const furtherVlans = (route: NetlinkSocket, index: number, wanted: readonly PortVlan[]): number[] => {
  const ids = new Set(wanted.map(({ id }) => id));
  return listVlans(route, index).flatMap(({ id }) => (ids.has(id) ? [] : [id]));
};

export function portVlanDifferences(route: NetlinkSocket, link: Link, port: PortVlans): string[] {
  const wanted = vlansOf(port);
  if (wanted.length === 0) return [];
  const present = new Map(listVlans(route, link.index).map((found) => [found.id, found]));
  return [
    ...wanted.filter(({ id }) => !present.has(id)).map(({ id }) => `${link.name} is not in VLAN ${id}`),
    ...wanted
      .filter(({ id, untagged }) => untagged && present.get(id)?.untagged === false)
      .map(({ id }) => `frames of VLAN ${id} leave ${link.name} with a tag`),
    ...(port.keepDefaultVlan
      ? []
      : furtherVlans(route, link.index, wanted).map((id) => `${link.name} is in VLAN ${id}`)),
  ];
}

function unsupported(name: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_FIELD_UNSUPPORTED',
    kind: 'precondition',
    attempted: 'put VLANs on the bridge',
    on: name,
    why: 'the kernel has no VLAN filtering on bridges (BRIDGE_VLAN_FILTERING)',
    fix: "use a kernel that has it, or remove 'vlan' and 'vlanTrunk'",
  });
}
