import { bridge } from './bridge/plugin.ts';
import { bridgeKind } from './bridge/bridge-kind.ts';
import { masqueradeKind } from './nat/masquerade-kind.ts';
import { macGuardKind } from './bridge/mac-guard-kind.ts';
import { vethPortKind } from './bridge/veth-port-kind.ts';
import type { AddressPlugin, Plugin, Resource, ResourceKind } from './contract.ts';
import { podAddressesKind } from './interface/pod-addresses.ts';
import { loopback } from './loopback/plugin.ts';
import { loopbackKind } from './loopback/loopback-kind.ts';
import { hostPortsKind } from './nat/host-ports-kind.ts';
import { portmap } from './portmap/plugin.ts';

/** Every plugin of ours, one line each; by type, without the prefix `portcullis-`. The address plugin `ipam` is the engine's own. */
export const plugins: readonly Plugin[] = [bridge, loopback, portmap];

/** Address plugins without a store; by `ipam.type`. */
export const addressPlugins: readonly AddressPlugin[] = [];

/** What plugins make, by the kind of the resource. */
const resourceKinds: readonly ResourceKind[] = [
  bridgeKind,
  hostPortsKind,
  loopbackKind,
  macGuardKind,
  masqueradeKind,
  podAddressesKind,
  vethPortKind,
];

const byKind = new Map(resourceKinds.map((kind) => [kind.kind, kind]));

/** @throws Error for a kind that this version does not know: a newer one wrote the database */
export function kindOf(resource: Resource): ResourceKind {
  const kind = byKind.get(resource.kind);
  if (kind === undefined) throw new Error(`resources of the kind ${JSON.stringify(resource.kind)} are not known to this version`);
  return kind;
}
