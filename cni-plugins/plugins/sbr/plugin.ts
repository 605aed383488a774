import {
  formatIp,
  ipFromBytes,
  networkOf,
  parseIp,
  parsePrefix,
  contains,
} from '../../../base/addresses/index.ts';
import type { IpAddress, IpPrefix } from '../../../base/addresses/index.ts';
import { PortcullisError } from '../../../base/errors/index.ts';
import type { CniResult } from '../../spec/result.ts';
import { findLink, listRoutes, listRoutingRules, mainTable } from '../../../base/netlink/index.ts';
import type { TableRoute } from '../../../base/netlink/index.ts';
import type { Plugin } from '../contract/contract.ts';
import { podOf } from '../interface/child-link.ts';
import { interfaceMissing } from '../interface/failures.ts';
import { podRouteOf } from '../interface/pod-addresses.ts';
import type { PodRoute } from '../interface/pod-addresses.ts';
import { previousOf } from '../interface/previous.ts';
import type { SourceRouting } from './source-routing.ts';

interface SbrConfig {
  /** Adds rules for an existing table; routes are not changed. */
  readonly table?: number;
  readonly gateways: readonly IpAddress[];
  readonly sourceHints: boolean;
}

interface Observed {
  /** Tables that rules lead to or that have routes. */
  readonly used: readonly number[];
  /** Routes of the interface in the main table. */
  readonly routes: readonly PodRoute[];
}

const firstTable = 100;

/**
 * Source-based routing: packets with an address of the interface are routed by a separate table. Fields and
 * semantics of the upstream plugin sbr.
 */
export const sbr: Plugin<SbrConfig> = {
  type: 'sbr',
  role: 'chained',
  capabilities: [],
  read(config) {
    const table = config.whole('table');
    if (table !== undefined && (table < 1 || table > 0xffffffff))
      config.problem('table', `${table} is not a routing table: 1 to 4294967295`);
    const gateways = config.texts('gateways').flatMap((text) => {
      const gateway = parseIp(text);
      if (gateway === undefined) config.problem('gateways', `${JSON.stringify(text)} is not an IP address`);
      return gateway === undefined ? [] : [gateway];
    });
    for (const family of [4, 6] as const)
      if (gateways.filter((gateway) => gateway.family === family).length > 1)
        config.problem('gateways', `there is more than one of IPv${family}`);
    return {
      gateways,
      sourceHints: config.flag('addSourceHints', false),
      ...(table === undefined ? {} : { table }),
    };
  },
  observe(_config, kernel, input): Observed {
    const name = input.key.interface;
    const { route } = podOf(kernel, name);
    const link = findLink(route, { name });
    if (link === undefined) throw interfaceMissing(name, 'pod');
    const all = listRoutes(route);
    const used = new Set([
      ...all.map(({ table }) => table),
      ...listRoutingRules(route).map(({ table }) => table),
    ]);
    // Neighbours are resolved by link-local addresses: those routes stay where they are.
    const own = all.filter(
      (entry) => entry.index === link.index && entry.table === mainTable && !isLinkLocal(entry),
    );
    return { used: [...used], routes: own.map(podRouteOf) };
  },
  plan(config, input) {
    const previous = previousOf(input, 'sbr');
    const { used, routes } = input.observed as Observed;
    const name = input.key.interface;
    const ips = ipsOn(previous, name);
    if (ips.length === 0) throw noAddresses(name);
    if (config.table !== undefined) {
      const { table } = config;
      return {
        resources: [
          sourceRouting(
            name,
            ips.map(({ prefix }) => ({ source: formatIp(prefix.address), table })),
            [],
            [],
            [],
          ),
        ],
        result: previous,
      };
    }
    const taken = new Set(used);
    const plans = ips.map((ip) => ({ ...ip, table: nextTable(taken) }));
    const gatewayOf = ({ prefix, gateway }: OwnAddress): IpAddress | undefined =>
      config.gateways.find(({ family }) => family === prefix.address.family) ?? gateway;
    const inTables = plans.flatMap((plan): PodRoute[] => {
      const { prefix, table } = plan;
      const gateway = gatewayOf(plan);
      const { family } = prefix.address;
      const copies = routes
        .filter((route) => (parsePrefix(route.dst)?.address.family ?? 0) === family && belongs(route, prefix))
        .map((route) => ({ ...route, table }));
      const isDefault = (route: PodRoute): boolean => parsePrefix(route.dst)?.length === 0;
      const byDefault: PodRoute[] =
        gateway === undefined || copies.some(isDefault)
          ? []
          : [{ dst: family === 4 ? '0.0.0.0/0' : '::/0', gw: formatIp(gateway), table }];
      // The route to a gateway comes before the routes through it.
      return [...copies, ...byDefault].toSorted(
        (a, b) => Number(a.gw !== undefined) - Number(b.gw !== undefined),
      );
    });
    const hints = config.sourceHints ? hintsFor(plans) : [];
    const leaving = config.sourceHints
      ? routes.filter(({ scope, gw }) => scope !== 253 && gw !== undefined)
      : routes;
    const rules = plans.map(({ prefix, table }) => ({ source: formatIp(prefix.address), table }));
    return { resources: [sourceRouting(name, rules, inTables, hints, leaving)], result: previous };
  },
};

interface OwnAddress {
  readonly prefix: IpPrefix;
  readonly gateway?: IpAddress;
}

/** The main table has one route to a network: its source is the first address, as the kernel chooses it. */
function hintsFor(ips: readonly OwnAddress[]): PodRoute[] {
  const hints = new Map<string, PodRoute>();
  for (const { prefix } of ips) {
    const dst = `${formatIp(networkOf(prefix))}/${prefix.length}`;
    if (!hints.has(dst)) hints.set(dst, { dst, src: formatIp(prefix.address), scope: 253 });
  }
  return [...hints.values()];
}

/** Returns the addresses of the interface. An address without an interface counts. */
function ipsOn(result: CniResult, name: string): OwnAddress[] {
  return result.ips.flatMap(({ address, gateway: via, interface: index }) => {
    const owner = index === undefined ? undefined : result.interfaces[index];
    const prefix = parsePrefix(address);
    if (prefix === undefined || (owner !== undefined && owner.name !== name)) return [];
    const gateway = via === undefined ? undefined : parseIp(via);
    return [{ prefix, ...(gateway === undefined ? {} : { gateway }) }];
  });
}

function nextTable(taken: Set<number>): number {
  let table = firstTable;
  while (taken.has(table)) table += 1;
  taken.add(table);
  return table;
}

/** As upstream: routes of the address's network by source or gateway, and routes with neither. */
function belongs(route: PodRoute, prefix: IpPrefix): boolean {
  const inside = (text: string | undefined): boolean => {
    const address = text === undefined ? undefined : parseIp(text);
    return address !== undefined && contains(prefix, address);
  };
  return inside(route.src) || inside(route.gw) || (route.src === undefined && route.gw === undefined);
}

const isLinkLocal = (route: TableRoute): boolean => {
  const { family, value } = ipFromBytes(route.destination);
  return family === 6 && route.length > 0 && (value >> 118n === 0x3fan || value >> 120n === 0xffn);
};

function sourceRouting(
  name: string,
  rules: SourceRouting['rules'],
  routes: readonly PodRoute[],
  hints: readonly PodRoute[],
  leaving: readonly PodRoute[],
): SourceRouting {
  return { kind: 'source-routing', interface: name, rules, routes, hints, leaving };
}

function noAddresses(name: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_ADDRESSES_MISSING',
    kind: 'invalid',
    attempted: 'route by source address',
    on: name,
    why: 'prevResult has no address of the interface',
    fix: 'place the plugin after one that gives the interface an address',
  });
}
