import { PortcullisError } from '../../../base/errors/index.ts';
import { addVlans, deleteVlan, filtersVlans, listVlans, setVlanFiltering } from '../../netlink/bridge-vlans.ts';
import { isRefusal } from '../../netlink/kernel-failure.ts';
import { createLink } from '../../netlink/link-kinds.ts';
import { findLink } from '../../netlink/link-settings.ts';
import type { LinkSettings } from '../../netlink/link-settings.ts';
import { setUp } from '../../netlink/links.ts';
import type { Link } from '../../netlink/links.ts';
import type { NetlinkSocket } from '../../netlink/socket.ts';
import { interfaceTaken } from '../interface/failures.ts';

/** VLANs on the bridge: of a port (`vlan`, `vlanTrunk`) and of the gateway's addresses. */

/** The VLAN that every port of a filtering bridge is born in. */
const defaultVlan = 1;

/** @throws NETWORK_FIELD_UNSUPPORTED where the kernel has no VLAN filtering */
export function ensureVlanFiltering(route: NetlinkSocket, bridge: Link): void {
  if (filtersVlans(route, bridge.index)) return;
  route.run([setVlanFiltering(bridge.index)]);
  if (!filtersVlans(route, bridge.index)) throw unsupported(bridge.name);
}

const vlanGatewayName = (bridge: string, vlan: number): string => `${bridge}.${vlan}`;

/** The link that has the gateway's addresses in a VLAN, where it stands as it shall. */
export const vlanGateway = (route: NetlinkSocket, bridge: Link, vlan: number): LinkSettings | undefined => {
  const link = findLink(route, { name: vlanGatewayName(bridge.name, vlan) });
  return link?.kind === 'vlan' && link.peer === bridge.index && link.data.get(vlanId)?.readUInt16LE(0) === vlan ? link : undefined;
};

/** IFLA_VLAN_ID (linux/if_link.h). */
const vlanId = 1;

/**
 * The link that has the gateway's addresses in a VLAN: `cni0.100` on `cni0`. @returns its index
 * @throws NETWORK_INTERFACE_TAKEN where another link has its name
 */
export function ensureVlanGateway(route: NetlinkSocket, bridge: Link, vlan: number): number {
  const name = vlanGatewayName(bridge.name, vlan);
  route.run([addVlans(bridge.index, [{ id: vlan, untagged: false }], true)]);
  try {
    route.run([createLink({ name, of: { kind: 'vlan', id: vlan }, parent: bridge.index })]);
  } catch (thrown) {
    if (!isRefusal(thrown, 'EEXIST')) throw thrown;
  }
  const link = vlanGateway(route, bridge, vlan);
  if (link === undefined) throw interfaceTaken(name, `the host has a link of that name that is not VLAN ${vlan} of ${bridge.name}`);
  route.run([setUp({ index: link.index })]);
  return link.index;
}

/** Of the bridge itself. @param vlan that its gateway's addresses are in; 0: in none */
export function vlanDifferences(route: NetlinkSocket, bridge: Link, vlan: number): string[] {
  const gateway = vlan === 0 ? undefined : vlanGateway(route, bridge, vlan);
  return [
    ...(filtersVlans(route, bridge.index) ? [] : [`the bridge ${bridge.name} does not filter VLANs`]),
    ...(vlan === 0 || listVlans(route, bridge.index).some(({ id }) => id === vlan) ? [] : [`${bridge.name} is not in VLAN ${vlan}`]),
    ...(vlan === 0 || gateway !== undefined ? [] : [`there is no link ${vlanGatewayName(bridge.name, vlan)}`]),
    ...(gateway === undefined || gateway.up ? [] : [`${gateway.name} is down`]),
  ];
}

export interface PortVlans {
  readonly vlan: number;
  readonly trunk: readonly number[];
  readonly keepDefaultVlan: boolean;
}

/** A message holds few thousand VLANs at most; a trunk may have all of them. */
const vlansAMessage = 1000;

export function ensurePortVlans(route: NetlinkSocket, index: number, { vlan, trunk, keepDefaultVlan }: PortVlans): void {
  if (vlan === 0 && trunk.length === 0) return;
  const wanted = [
    ...trunk.filter((id) => id !== vlan).map((id) => ({ id, untagged: false })),
    ...(vlan === 0 ? [] : [{ id: vlan, untagged: true }]),
  ];
  for (let at = 0; at < wanted.length; at += vlansAMessage) route.run([addVlans(index, wanted.slice(at, at + vlansAMessage))]);
  if (keepDefaultVlan || wanted.some(({ id }) => id === defaultVlan)) return;
  if (listVlans(route, index).some(({ id }) => id === defaultVlan)) route.run([deleteVlan(index, defaultVlan)]);
}

export function portVlanDifferences(route: NetlinkSocket, link: Link, { vlan, trunk, keepDefaultVlan }: PortVlans): string[] {
  if (vlan === 0 && trunk.length === 0) return [];
  const present = listVlans(route, link.index);
  const missing = [...(vlan === 0 ? [] : [vlan]), ...trunk].filter((id) => !present.some((found) => found.id === id));
  return [
    ...missing.map((id) => `${link.name} is not in VLAN ${id}`),
    ...(vlan !== 0 && present.some(({ id, untagged }) => id === vlan && !untagged)
      ? [`frames of VLAN ${vlan} leave ${link.name} with a tag`]
      : []),
    ...(!keepDefaultVlan && ![vlan, ...trunk].includes(defaultVlan) && present.some(({ id }) => id === defaultVlan)
      ? [`${link.name} is in VLAN ${defaultVlan}`]
      : []),
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
