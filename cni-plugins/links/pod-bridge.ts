import { readFileSync, writeFileSync } from 'node:fs';
import * as netlink from '../../base/netlink/index.ts';
import { tolerating } from '../../base/netlink/index.ts';
import type { Link, NetlinkSocket } from '../../base/netlink/index.ts';
import { ipBytes, parsePrefix } from '../../base/addresses/index.ts';
import { linkGroups, macBytes } from '../database/record.ts';
import type { AttachmentSpec } from '../database/record.ts';
import { bridgeUnusable } from '../plugins/interface/failures.ts';
import { ignoreRouters } from '../plugins/interface/pod-addresses.ts';

/** Bridges for pods of our own runtime, created when the first pod needs one. */
export interface PodBridges {
  /**
   * Returns the index of the bridge, which is created or adapted to the spec.
   * @throws NETWORK_BRIDGE_UNUSABLE
   */
  ensure(spec: AttachmentSpec): number;
  /**
   * Returns the index of the bridge as it was last seen; it may be gone or down by now. Undefined: never
   * seen.
   */
  lastSeen(spec: AttachmentSpec): number | undefined;
}

/** @param tag alias of the bridges that it creates, which identifies their root */
export function createPodBridges(route: NetlinkSocket, tag: string): PodBridges {
  const seen = new Map<string, number>();

  const create = ({ bridge: { name, mac } }: AttachmentSpec): Link => {
    tolerating(['EEXIST'], () =>
      route.run([
        netlink.createBridge({ name, mac: macBytes(mac), group: linkGroups.bridge }),
        netlink.setAlias({ name }, tag),
      ]),
    );
    const made = netlink.lookUp(route, { name });
    if (made === undefined) throw bridgeUnusable(name, 'it disappeared while it was created');
    return made;
  };

  return {
    lastSeen: (spec) => seen.get(stampOf(spec)),
    ensure(spec) {
      const { name, addresses, promiscuous } = spec.bridge;
      const bridge = netlink.lookUp(route, { name }) ?? create(spec);
      if (bridge.kind !== 'bridge')
        throw bridgeUnusable(name, `it is a link of kind ${bridge.kind === '' ? 'hardware' : bridge.kind}`);
      if (bridge.up && seen.get(stampOf(spec)) === bridge.index) return bridge.index;
      const own = { index: bridge.index };
      if (bridge.group === linkGroups.bridge) ignoreRouters(name);
      route.run([
        ...addresses.flatMap((address) => {
          const prefix = parsePrefix(address);
          return prefix === undefined
            ? []
            : [netlink.addAddress(bridge.index, ipBytes(prefix.address), prefix.length)];
        }),
        ...(addresses.some((address) => address.includes(':'))
          ? [netlink.addGatewayLinkLocal(bridge.index)]
          : []),
        ...(promiscuous ? [netlink.setPromiscuous(own)] : []),
        // A bridge whose address was never set takes the lowest of its ports', which changes with every pod.
        ...(bridge.group === linkGroups.bridge
          ? []
          : [netlink.setMac(bridge.index, bridge.mac === netlink.noMac ? spec.bridge.mac : bridge.mac)]),
        netlink.setUp(own),
        ...(routesLoopback(spec) ? [netlink.setRouteLocalnet(own)] : []),
      ]);
      if (addresses.length > 0) enableForwarding(addresses);
      seen.set(stampOf(spec), bridge.index);
      return bridge.index;
    },
  };
}

const routesLoopback = ({ bridge, portMappings }: AttachmentSpec): boolean =>
  portMappings.length > 0 || bridge.addresses.length > 0;

const stampOf = (spec: AttachmentSpec): string =>
  `${spec.bridge.name} ${spec.bridge.promiscuous} ${routesLoopback(spec)} ${spec.bridge.addresses.join(' ')}`;

/**
 * Enables forwarding, which a gateway needs. It writes only if forwarding is off: a container's /proc/sys may
 * be read-only and set already.
 */
function enableForwarding(addresses: readonly string[]): void {
  const files = [
    ...(addresses.some((address) => !address.includes(':')) ? ['/proc/sys/net/ipv4/ip_forward'] : []),
    ...(addresses.some((address) => address.includes(':')) ? ['/proc/sys/net/ipv6/conf/all/forwarding'] : []),
  ];
  for (const file of files) if (readFileSync(file, 'utf8').trim() !== '1') writeFileSync(file, '1');
}
