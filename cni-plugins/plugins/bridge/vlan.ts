import { PortcullisError } from '../../../base/errors/index.ts';
import { addVlans, deleteVlan, filtersVlans, listVlans, setVlanFiltering } from '../../netlink/bridge-vlans.ts';
import { isRefusal } from '../../netlink/kernel-failure.ts';
import { createLink } from '../../netlink/link-kinds.ts';
import { findLink } from '../../netlink/link-settings.ts';
import { setUp } from '../../netlink/links.ts';
import type { Link } from '../../netlink/links.ts';
import type { NetlinkSocket } from '../../netlink/socket.ts';

/** VLANs on the bridge: of a port (`vlan`, `vlanTrunk`) and of the gateway's addresses. */

/** The VLAN that every port of a filtering bridge is born in. */
const defaultVlan = 1;

/** @throws NETWORK_FIELD_UNSUPPORTED where the kernel has no VLAN filtering */
export function ensureVlanFiltering(route: NetlinkSocket, bridge: Link): void {
  if (filtersVlans(route, bridge.index)) return;
  route.run([setVlanFiltering(bridge.index)]);
  if (!filtersVlans(route, bridge.index)) throw unsupported(bridge.name);
}

export const vlanGatewayName = (bridge: string, vlan: number): string => `${bridge}.${vlan}`;

/** The link that has the gateway's addresses in a VLAN: `cni0.100` on `cni0`. @returns its index */
export function ensureVlanGateway(route: NetlinkSocket, bridge: Link, vlan: number): number {
  const name = vlanGatewayName(bridge.name, vlan);
  route.run([addVlans(bridge.index, [{ id: vlan, untagged: false }], true)]);
  try {
    route.run([createLink({ name, of: { kind: 'vlan', id: vlan }, parent: bridge.index })]);
  } catch (thrown) {
    if (!isRefusal(thrown, 'EEXIST')) throw thrown;
  }
  const link = findLink(route, { name });
  if (link === undefined) throw unsupported(name);
  route.run([setUp({ index: link.index })]);
  return link.index;
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
