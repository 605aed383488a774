import { bridge } from './bridge/plugin.ts';
import { bridgeType } from './bridge/bridge-type.ts';
import { masqueradeType } from './nat/masquerade-type.ts';
import { macGuardType } from './bridge/mac-guard-type.ts';
import { vethPortType } from './bridge/veth-port-type.ts';
import { cnm } from './cnm/plugin.ts';
import type {
  AddressPlugin,
  Completion,
  Plugin,
  Resource,
  ResourceKernel,
  ResourceType,
} from './contract/contract.ts';
import { damagedRecordType } from './interface/damaged-record.ts';
import { podAddressesType } from './interface/pod-addresses.ts';
import { loopback } from './loopback/plugin.ts';
import { loopbackType } from './loopback/loopback-type.ts';
import { hostPortsType } from './nat/host-ports-type.ts';
import { portmap } from './portmap/plugin.ts';
import { bandwidth } from './bandwidth/plugin.ts';
import { trafficLimitType } from './bandwidth/traffic-limit.ts';
import { dummyLinkType } from './dummy/dummy-link.ts';
import { dummy } from './dummy/plugin.ts';
import { forwardPolicyType } from './firewall/forward-policy.ts';
import { firewall } from './firewall/plugin.ts';
import { movedDeviceType } from './host-device/moved-device.ts';
import { hostDevice } from './host-device/plugin.ts';
import { childLinkType } from './interface/child-link.ts';
import { ipvlan } from './ipvlan/plugin.ts';
import { macvlan } from './macvlan/plugin.ts';
import { ptp } from './ptp/plugin.ts';
import { routedPairType } from './ptp/routed-pair.ts';
import { sbr } from './sbr/plugin.ts';
import { sourceRoutingType } from './sbr/source-routing.ts';
import { staticAddresses } from './static/plugin.ts';
import { tap } from './tap/plugin.ts';
import { tapDeviceType } from './tap/tap-device.ts';
import { linkTuningType } from './tuning/link-tuning.ts';
import { tuning } from './tuning/plugin.ts';
import { vlan } from './vlan/plugin.ts';
import { vrf } from './vrf/plugin.ts';
import { vrfMembershipType } from './vrf/vrf-membership.ts';
import { overlayLinkType } from './vxlan/overlay-link.ts';
import { vxlan } from './vxlan/plugin.ts';

/**
 * Every plugin of ours, one line each, by type without the prefix `portcullis-`. The address plugins
 * `dhcp` and `ipam` belong to the engine.
 */
export const plugins: readonly Plugin[] = [
  bandwidth,
  bridge,
  cnm,
  dummy,
  firewall,
  hostDevice,
  ipvlan,
  loopback,
  macvlan,
  portmap,
  ptp,
  sbr,
  tap,
  tuning,
  vlan,
  vrf,
  vxlan,
];

/** Returns whether the plugin of this type creates the interface, and is not chained after another one. */
export const createsInterface = ({ type }: { readonly type: string }): boolean =>
  plugins.some((plugin) => plugin.type === type && plugin.role === 'interface');

/** Address plugins without a store, by `ipam.type`. */
export const addressPlugins: readonly AddressPlugin[] = [staticAddresses];

/** Types of the address plugins that the engine has itself. */
export const engineAddressTypes: readonly string[] = ['dhcp', 'ipam'];

/** Resource types of the plugins, by `kind`. */
const resourceKinds: readonly ResourceType[] = [
  bridgeType,
  childLinkType,
  damagedRecordType,
  dummyLinkType,
  forwardPolicyType,
  hostPortsType,
  linkTuningType,
  loopbackType,
  macGuardType,
  masqueradeType,
  movedDeviceType,
  overlayLinkType,
  podAddressesType,
  routedPairType,
  sourceRoutingType,
  tapDeviceType,
  trafficLimitType,
  vethPortType,
  vrfMembershipType,
];

const byKind = new Map(resourceKinds.map((kind) => [kind.kind, kind]));

/** @throws Error for a kind that this version does not know: a newer version wrote the database */
export function kindOf(resource: Resource): ResourceType {
  const kind = byKind.get(resource.kind);
  if (kind === undefined)
    throw new Error(`resources of the kind ${JSON.stringify(resource.kind)} are not known to this version`);
  return kind;
}

/** Completes what a plugin has created, each kind once. @param waitedMs since the first call */
export function completion(
  resources: readonly Resource[],
  kernel: ResourceKernel,
  waitedMs: number,
): Completion {
  const found = resources.map((resource) => kindOf(resource).complete?.(resource, kernel, waitedMs));
  return found.includes('pending') ? 'pending' : 'done';
}
