import { contains, parsePrefix } from '../../../base/addresses/index.ts';
import type { CniResult } from '../../spec/result.ts';
import { otherAddress } from '../protocol/failures.ts';
import type { CreateEndpointReply, EndpointInterface, JoinReply, StaticRoute } from '../protocol/protocol.ts';
import type { CnmNetwork, EndpointLink } from '../acts/records.ts';

/** Converts a CNI result to the reply for the engine. Pure. */

const familyOf = (address: string): 4 | 6 => (address.includes(':') ? 6 : 4);
const bare = (address: string): string => address.split('/')[0] ?? '';

/** Returns the addresses of the pod's interface, without those of other interfaces that a plugin made. */
function addressesOf({ interfaces, ips }: CniResult, name: string): CniResult['ips'] {
  return ips.filter(
    ({ interface: index }) =>
      index === undefined || interfaces[index] === undefined || interfaces[index].name === name,
  );
}

/** @throws NETWORK_CNM_ADDRESS if the plugins assigned an address other than the one that the engine chose */
export function requireWanted(network: CnmNetwork, wanted: EndpointInterface, result: CniResult): void {
  const given = result.ips.map(({ address }) => address);
  for (const address of [wanted.Address, wanted.AddressIPv6]) {
    const prefix = parsePrefix(address);
    if (prefix === undefined) continue;
    const matches = given.some((each) => {
      const other = parsePrefix(each);
      return other?.address.family === prefix.address.family && other.address.value === prefix.address.value;
    });
    if (!matches) throw otherAddress(network.name, address, given);
  }
}

/**
 * Returns only what the engine left open, because it refuses a driver that returns more. Contains the first
 * address of each family: the engine supports no second one.
 */
export function endpointReply(
  wanted: EndpointInterface,
  result: CniResult,
  link: EndpointLink,
  name: string,
): CreateEndpointReply {
  const first = (family: 4 | 6): string =>
    addressesOf(result, name).find(({ address }) => familyOf(address) === family)?.address ?? '';
  const [Address, AddressIPv6] = [first(4), first(6)];
  return {
    Interface: {
      ...(wanted.Address === '' && Address !== '' && { Address }),
      ...(wanted.AddressIPv6 === '' && AddressIPv6 !== '' && { AddressIPv6 }),
      ...(wanted.MacAddress === '' && { MacAddress: link.mac }),
    },
  };
}

const isDefault = (dst: string): boolean => dst === '0.0.0.0/0' || dst === '::/0';

/**
 * Routes without a gateway use the gateway of their family, as the upstream plugins set them; if there is
 * none, they are on the link.
 */
export function joinReply(
  { internal }: CnmNetwork,
  result: CniResult,
  link: EndpointLink,
  name: string,
): JoinReply {
  const own = addressesOf(result, name);
  const gatewayOf = (family: 4 | 6): string | undefined =>
    own.find(({ address, gateway }) => gateway !== undefined && familyOf(address) === family)?.gateway;
  const defaultOf = (family: 4 | 6): string | undefined => {
    const route = result.routes.find(({ dst }) => isDefault(dst) && familyOf(dst) === family);
    return route === undefined || internal ? undefined : (route.gw ?? gatewayOf(family));
  };
  const [Gateway, GatewayIPv6] = [defaultOf(4), defaultOf(6)];
  const StaticRoutes = result.routes
    .filter(({ dst }) => !isDefault(dst) && !isOwnSubnet(dst, own))
    .map(({ dst, gw }): StaticRoute => {
      const NextHop = gw ?? gatewayOf(familyOf(dst));
      return {
        Destination: dst,
        ...(NextHop === undefined ? { RouteType: 1 } : { RouteType: 0, NextHop: bare(NextHop) }),
      };
    });
  return {
    InterfaceName: { SrcName: link.name, DstPrefix: name.replace(/\d+$/u, '') },
    ...(Gateway !== undefined && { Gateway }),
    ...(GatewayIPv6 !== undefined && { GatewayIPv6 }),
    StaticRoutes,
    ...(Gateway === undefined && GatewayIPv6 === undefined && { DisableGatewayService: true }),
  };
}

/**
 * The engine assigns the addresses with their prefix lengths. The kernel adds these routes itself, and adding
 * them twice fails.
 */
function isOwnSubnet(dst: string, own: CniResult['ips']): boolean {
  const route = parsePrefix(dst);
  return (
    route !== undefined &&
    own.some(({ address }) => {
      const prefix = parsePrefix(address);
      return prefix?.length === route.length && contains(route, prefix.address);
    })
  );
}
