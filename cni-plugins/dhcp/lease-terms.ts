import { addressesIn, ipv4Text, isUnicast, isWithin, lengthOf, maskOf } from './ipv4.ts';
import type { DhcpMessage } from './message.ts';
import { optionCodes as codes } from './option-codes.ts';
import { readDomain, readSearchList } from './search-list.ts';

/** The content of an OFFER or ACK, within bounds. A JSON value. */
export interface LeaseTerms {
  readonly address: string;
  /** Length of the subnet's prefix. */
  readonly length: number;
  /** The server's own address, its identifier. */
  readonly server: string;
  /** The first router. */
  readonly router?: string;
  readonly routes: readonly { readonly dst: string; readonly gw: string }[];
  readonly nameservers: readonly string[];
  readonly domain?: string;
  readonly search: readonly string[];
  /** Absent: the lease never ends. */
  readonly seconds?: number;
  /** T1 and T2, in seconds from the beginning. */
  readonly renewAfter: number;
  readonly rebindAfter: number;
}

export interface ReadTerms {
  readonly terms: LeaseTerms;
  /** Parts of the message that are not used, each with the reason. */
  readonly ignored: readonly string[];
}

const shortestPrefix = 8;
const shortestLease = 10;
const endless = 0xffffffff;
const mostRoutes = 64;
const mostNameServers = 8;

/** Returns the terms of a message of a server, or why they are refused. Pure. */
export function readTerms({ yourAddress: address, options }: DhcpMessage): ReadTerms | string {
  const numberIn = (code: number): number | undefined => {
    const value = options.get(code);
    return value?.length === 4 ? value.readUInt32BE(0) : undefined;
  };
  const server = numberIn(codes.server);
  if (server === undefined || !isUnicast(server)) return 'it names no server';
  const mask = numberIn(codes.subnetMask);
  const length = mask === undefined ? undefined : lengthOf(mask);
  if (mask === undefined) return 'it has no subnet mask';
  if (length === undefined || length < shortestPrefix)
    return `its subnet mask ${ipv4Text(mask)} is not one of /${shortestPrefix} to /32`;
  if (!isUnicast(address)) return `its address ${ipv4Text(address)} is not one of an interface`;
  if (length <= 30 && isEdge(address, length))
    return `its address ${ipv4Text(address)} is the first or last one of its /${length}`;
  const lease = numberIn(codes.leaseTime);
  if (lease === undefined) return 'it has no lease time';
  if (lease < shortestLease) return `its lease time of ${lease} s is less than ${shortestLease} s`;
  const ignored: string[] = [];
  const reachable = (gateway: number): boolean =>
    isWithin(gateway, address, length) && gateway !== address && isUnicast(gateway);
  const router = addressesIn(options.get(codes.routers)).find((each) => {
    if (reachable(each)) return true;
    ignored.push(`the router ${ipv4Text(each)} is not in the subnet`);
    return false;
  });
  const domain = readDomain(options.get(codes.domainName));
  const terms: LeaseTerms = {
    address: ipv4Text(address),
    length,
    server: ipv4Text(server),
    ...(router !== undefined && { router: ipv4Text(router) }),
    routes: routesOf(options, router, reachable, ignored),
    nameservers: addressesIn(options.get(codes.nameServers))
      .filter((each) => each >>> 24 !== 0 && each >>> 24 < 224)
      .slice(0, mostNameServers)
      .map(ipv4Text),
    ...(domain !== undefined && { domain }),
    search: readSearchList(options.get(codes.searchList) ?? Buffer.alloc(0)),
    ...timesOf(lease, numberIn(codes.renewalTime), numberIn(codes.rebindingTime)),
  };
  return { terms, ignored: ignored.slice(0, 4) };
}

const isEdge = (address: number, length: number): boolean => {
  const host = (address & ~maskOf(length)) >>> 0;
  return host === 0 || host === ~maskOf(length) >>> 0;
};

/** Returns lease time, T1 and T2 (RFC 2131, section 4.4.5). Times that contradict each other are replaced. */
function timesOf(
  lease: number,
  renewal: number | undefined,
  rebinding: number | undefined,
): Pick<LeaseTerms, 'seconds' | 'renewAfter' | 'rebindAfter'> {
  const rebindAfter =
    rebinding === undefined || rebinding > lease || rebinding < shortestLease / 2
      ? Math.floor(lease * 0.875)
      : rebinding;
  const renewAfter =
    renewal === undefined || renewal > rebindAfter || renewal < shortestLease / 2
      ? Math.min(Math.floor(lease / 2), rebindAfter)
      : renewal;
  return { ...(lease !== endless && { seconds: lease }), renewAfter, rebindAfter };
}

type Options = DhcpMessage['options'];

/** Classless routes replace the router and the static routes (RFC 3442). */
function routesOf(
  options: Options,
  router: number | undefined,
  reachable: (gateway: number) => boolean,
  ignored: string[],
): LeaseTerms['routes'] {
  const classless = options.get(codes.classlessRoutes);
  const found = classless === undefined ? undefined : classlessRoutes(classless);
  if (found === 'malformed') ignored.push('its classless routes are malformed');
  const all =
    Array.isArray(found) && found.length > 0
      ? found
      : [
          ...classfulRoutes(options.get(codes.staticRoutes)),
          ...(router === undefined ? [] : [{ destination: 0, length: 0, gateway: router }]),
        ];
  if (all.length > mostRoutes) ignored.push(`${all.length - mostRoutes} of its ${all.length} routes`);
  return all.slice(0, mostRoutes).flatMap(({ destination, length, gateway }) => {
    const dst = `${ipv4Text((destination & maskOf(length)) >>> 0)}/${length}`;
    if (reachable(gateway)) return [{ dst, gw: ipv4Text(gateway) }];
    ignored.push(`the route to ${dst}, whose router ${ipv4Text(gateway)} is not in the subnet`);
    return [];
  });
}

interface Route {
  readonly destination: number;
  readonly length: number;
  readonly gateway: number;
}

function classlessRoutes(option: Buffer): Route[] | 'malformed' {
  const routes: Route[] = [];
  for (let at = 0; at < option.length;) {
    const length = option.readUInt8(at);
    const bytes = Math.ceil(length / 8);
    if (length > 32 || at + 1 + bytes + 4 > option.length) return 'malformed';
    const destination = Buffer.alloc(4);
    option.copy(destination, 0, at + 1, at + 1 + bytes);
    routes.push({
      destination: destination.readUInt32BE(0),
      length,
      gateway: option.readUInt32BE(at + 1 + bytes),
    });
    at += 5 + bytes;
  }
  return routes;
}

/** Static routes have no mask: their class is meant (RFC 2132, section 5.8). None is a default route. */
function classfulRoutes(option: Buffer | undefined): Route[] {
  const numbers = addressesIn(option);
  return Array.from({ length: Math.floor(numbers.length / 2) }, (_, index) => ({
    destination: numbers[index * 2] ?? 0,
    gateway: numbers[index * 2 + 1] ?? 0,
  })).flatMap(({ destination, gateway }) => {
    const first = destination >>> 24;
    if (destination === 0 || gateway === 0 || first >= 224) return [];
    return [{ destination, length: first < 128 ? 8 : first < 192 ? 16 : 24, gateway }];
  });
}
