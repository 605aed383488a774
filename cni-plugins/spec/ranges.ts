import {
  contains,
  formatIp,
  isMulticast,
  lastOf,
  networkOf,
  ownHost,
  parseIp,
  parsePrefix,
} from '../../base/addresses/index.ts';
import type { IpAddress, IpPrefix } from '../../base/addresses/index.ts';
import type { Fields } from './fields.ts';
import type { AddressRange, RangeSet, RouteConfig } from './network-config.ts';

/** The IPAM part of a conflist, with the rules of the upstream plugin `host-local`. */

/**
 * Reads `ipam.ranges`. The older `ipam.subnet` and its companion fields are a first set of their own.
 * @param more sets of the capability `ipRanges`
 */
export function readRangeSets(ipam: Fields, more: readonly Fields[][] = []): RangeSet[] {
  const sets: RangeSet[] = [];
  const readSets = (lists: readonly Fields[][]): void => {
    for (const set of lists) {
      const ranges = set.flatMap((entry) => readRange(entry) ?? []);
      if (ranges.length === 0 && set.length === 0) ipam.problem('ranges', 'a set of ranges is empty');
      if (new Set(ranges.map((range) => range.subnet.address.family)).size > 1)
        ipam.problem('ranges', 'one set mixes IPv4 and IPv6');
      if (ranges.length > 0) sets.push(ranges);
    }
  };
  readSets(more);
  if (ipam.has('subnet')) {
    const range = readRange(ipam);
    if (range !== undefined) sets.push([range]);
  }
  readSets(ipam.lists('ranges'));
  if (sets.length === 0 && !ipam.hasProblems())
    ipam.problem('', "no addresses: 'ranges' or 'subnet' is missing");
  const all = sets.flat();
  all.forEach((range, index) => {
    const other = all.slice(0, index).find((earlier) => overlap(earlier, range));
    if (other !== undefined)
      ipam.problem('ranges', `the ranges ${nameOf(other)} and ${nameOf(range)} overlap`);
  });
  return sets;
}

const nameOf = (range: AddressRange): string => `${formatIp(range.start)}-${formatIp(range.end)}`;

function overlap(a: AddressRange, b: AddressRange): boolean {
  return a.start.family === b.start.family && a.start.value <= b.end.value && b.start.value <= a.end.value;
}

/** RFC 4291, section 2.5.5.2. */
const mapped: IpPrefix = { address: { family: 6, value: 0xffffn << 32n }, length: 96 };

function readRange(fields: Fields): AddressRange | undefined {
  const text = fields.text('subnet');
  if (text === undefined) {
    fields.problem('', "'subnet' is missing");
    return undefined;
  }
  const prefix = parsePrefix(text);
  if (prefix === undefined) {
    fields.problem('subnet', `${JSON.stringify(text)} is not a subnet such as 10.88.0.0/16`);
    return undefined;
  }
  const network = networkOf(prefix);
  const subnet: IpPrefix = { address: network, length: prefix.length };
  const { family } = network;
  if (network.value !== prefix.address.value) {
    fields.problem(
      'subnet',
      `${text} has host bits set: the subnet is ${formatIp(network)}/${prefix.length}`,
    );
    return undefined;
  }
  if (isMulticast(network)) {
    fields.problem('subnet', `${text} is multicast: no interface can send from its addresses`);
    return undefined;
  }
  if (ownHost.some((own) => contains(own, network) || contains(subnet, own.address))) {
    fields.problem('subnet', `${text} contains addresses with which every host means itself`);
    return undefined;
  }
  if (contains(mapped, network) || contains(subnet, mapped.address)) {
    fields.problem('subnet', `${text} contains IPv4 addresses in IPv6 form: no program sends IPv6 to them`);
    return undefined;
  }
  if (prefix.length > (family === 4 ? 30 : 126)) {
    fields.problem('subnet', `${text} is too small to lease addresses from`);
    return undefined;
  }
  // For IPv4 the last address is the broadcast address; for IPv6 it is a normal address.
  const last = lastOf(subnet).value - (family === 4 ? 1n : 0n);
  const within = (name: string, fallback: bigint): IpAddress | undefined => {
    const given = fields.text(name);
    if (given === undefined || given === '') return { family, value: fallback };
    const address = parseIp(given);
    if (address === undefined) fields.problem(name, `${JSON.stringify(given)} is not an IP address`);
    else if (!contains(subnet, address)) fields.problem(name, `${given} is not in ${text}`);
    else return address;
    return undefined;
  };
  const gateway = within('gateway', network.value + 1n);
  const start = within('rangeStart', network.value + 1n);
  const end = within('rangeEnd', last);
  if (gateway === undefined || start === undefined || end === undefined) return undefined;
  if (start.value > end.value) {
    fields.problem('rangeStart', `${formatIp(start)} is after rangeEnd ${formatIp(end)}`);
    return undefined;
  }
  return { subnet, start, end, gateway };
}

/** Reads `ipam.routes`. */
export function readRoutes(ipam: Fields): RouteConfig[] {
  return ipam.objects('routes').flatMap((entry) => {
    const text = entry.text('dst');
    const destination = text === undefined ? undefined : parsePrefix(text);
    if (destination === undefined) {
      entry.problem(
        text === undefined ? '' : 'dst',
        text === undefined ? "'dst' is missing" : `${JSON.stringify(text)} is not a prefix such as 0.0.0.0/0`,
      );
      return [];
    }
    const via = entry.text('gw');
    if (via === undefined || via === '') return [{ destination }];
    const gateway = parseIp(via);
    if (gateway?.family !== destination.address.family) {
      entry.problem('gw', `${JSON.stringify(via)} is not an address of the family of dst`);
      return [];
    }
    return [{ destination, gateway }];
  });
}
