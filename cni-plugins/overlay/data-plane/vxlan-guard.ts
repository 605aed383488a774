import { equals, interfaceKey, meta, payload, register, verdict } from '../../../base/netlink/index.ts';
import type { IpFamily } from '../../../base/addresses/index.ts';
import { bridgeName } from './bridge.ts';
import { linkNames } from './links.ts';
import type { OverlayNetwork } from '../records/settings.ts';
import { ensureTables, prefixMatches, removeTables, tableOf } from '../../spanned-network/tables.ts';
import type { WantedTable } from '../../spanned-network/tables.ts';

/**
 * The guard that is in force without encryption. A host accepts VXLAN from any sender. A pod that
 * encapsulates packets itself could therefore send in the name of a pod of another host: to this host, and,
 * with the address of this host, to others. So a host drops VXLAN that arrives from its pods or through the
 * VXLAN itself, and does not forward VXLAN from its pods to destinations outside of the network.
 */

const name = 'portcullis-overlay-vxlan';
/** After the translation of destinations, which may lead to a host (NF_INET_LOCAL_IN, NF_INET_FORWARD). */
const arriving = { name: 'arriving', hook: { type: 'filter', number: 1, priority: 0 } } as const;
const leaving = { name: 'leaving', hook: { type: 'filter', number: 2, priority: 0 } } as const;
const families: readonly IpFamily[] = [4, 6];
const udp = 17;

/** Drops datagrams for the port that come by a link, if they also match. */
function dropFrom(link: string, port: number, ...more: readonly Buffer[]): readonly Buffer[] {
  const portBytes = Buffer.alloc(2);
  portBytes.writeUInt16BE(port);
  return [
    meta('iifname', register(0)),
    equals(register(0), interfaceKey(link)),
    meta('l4proto', register(0)),
    equals(register(0), Buffer.of(udp)),
    payload('transport', 2, 2, register(0)),
    equals(register(0), portBytes),
    ...more,
    verdict('drop'),
  ];
}

/** Pods may use the port among themselves: in a pod, it is not a host that gets the packet. */
function guardOf(family: IpFamily, networks: readonly OverlayNetwork[], port: number): WantedTable {
  const outside = networks
    .filter(({ prefix }) => prefix.address.family === family)
    .flatMap(({ prefix }) => prefixMatches('destination', prefix, false));
  return {
    table: tableOf(family, name),
    chains: [arriving, leaving],
    rules: [
      { chain: arriving.name, expressions: dropFrom(bridgeName, port) },
      { chain: arriving.name, expressions: dropFrom(linkNames.vxlan, port) },
      { chain: leaving.name, expressions: dropFrom(bridgeName, port, ...outside) },
    ],
  };
}

/** Brings the guard to these networks and this port. @returns whether anything changed */
export const ensureVxlanGuard = (networks: readonly OverlayNetwork[], port: number): boolean =>
  ensureTables(families.map((family) => guardOf(family, networks, port)));

/** @returns whether there was a guard */
export const removeVxlanGuard = (): boolean => removeTables(name);
