import { bridge } from './bridge/plugin.ts';
import { bridgeKind } from './bridge/bridge-kind.ts';
import { masqueradeKind } from './nat/masquerade-kind.ts';
import { macGuardKind } from './bridge/mac-guard-kind.ts';
import { vethPortKind } from './bridge/veth-port-kind.ts';
import { cnm } from './cnm/plugin.ts';
import type { AddressPlugin, Completion, Plugin, Resource, ResourceKernel, ResourceKind } from './contract.ts';
import { podAddressesKind } from './interface/pod-addresses.ts';
import { loopback } from './loopback/plugin.ts';
import { loopbackKind } from './loopback/loopback-kind.ts';
import { hostPortsKind } from './nat/host-ports-kind.ts';
import { portmap } from './portmap/plugin.ts';
import { bandwidth } from './bandwidth/plugin.ts';
import { trafficLimitKind } from './bandwidth/traffic-limit.ts';
import { forwardPolicyKind } from './firewall/forward-policy.ts';
import { firewall } from './firewall/plugin.ts';
import { movedDeviceKind } from './host-device/moved-device.ts';
import { hostDevice } from './host-device/plugin.ts';
import { childLinkKind } from './interface/child-link.ts';
import { ipvlan } from './ipvlan/plugin.ts';
import { macvlan } from './macvlan/plugin.ts';
import { ptp } from './ptp/plugin.ts';
import { routedPairKind } from './ptp/routed-pair.ts';
import { sbr } from './sbr/plugin.ts';
import { sourceRoutingKind } from './sbr/source-routing.ts';
import { staticAddresses } from './static/plugin.ts';
import { linkTuningKind } from './tuning/link-tuning.ts';
import { tuning } from './tuning/plugin.ts';
import { vlan } from './vlan/plugin.ts';
import { overlayLinkKind } from './vxlan/overlay-link.ts';
import { vxlan } from './vxlan/plugin.ts';

/**
 * Every plugin of ours, one line each, by type without the prefix `portcullis-`. The address plugin `ipam`
 * belongs to the engine.
 */
export const plugins: readonly Plugin[] = [
  bandwidth,
  bridge,
  cnm,
  firewall,
  hostDevice,
  ipvlan,
  loopback,
  macvlan,
  portmap,
  ptp,
  sbr,
  tuning,
  vlan,
  vxlan,
];

/** Address plugins without a store, by `ipam.type`. */
export const addressPlugins: readonly AddressPlugin[] = [staticAddresses];

/** Resource types of the plugins, by `kind`. */
const resourceKinds: readonly ResourceKind[] = [
  bridgeKind,
  childLinkKind,
  forwardPolicyKind,
  hostPortsKind,
  linkTuningKind,
  loopbackKind,
  macGuardKind,
  masqueradeKind,
  movedDeviceKind,
  overlayLinkKind,
  podAddressesKind,
  routedPairKind,
  sourceRoutingKind,
  trafficLimitKind,
  vethPortKind,
];

const byKind = new Map(resourceKinds.map((kind) => [kind.kind, kind]));

/** @throws Error for a kind that this version does not know: a newer version wrote the database */
export function kindOf(resource: Resource): ResourceKind {
  const kind = byKind.get(resource.kind);
  if (kind === undefined) throw new Error(`resources of the kind ${JSON.stringify(resource.kind)} are not known to this version`);
  return kind;
}

/** Completes what a plugin has created, each kind once. @param waitedMs since the first call */
export function completion(resources: readonly Resource[], kernel: ResourceKernel, waitedMs: number): Completion {
  const found = resources.map((resource) => kindOf(resource).complete?.(resource, kernel, waitedMs));
  return found.includes('pending') ? 'pending' : 'done';
}
