import { PortcullisError } from '../../base/errors/index.ts';
import { append } from '../../base/lists/index.ts';
import { contains, formatIp, parsePrefix } from '../../base/addresses/index.ts';
import type { IpPrefix } from '../../base/addresses/index.ts';
import { hostAddresses, hostRoutes } from './host-links.ts';
import { defaultBridge, readNetworkReport } from './report.ts';
import type { ReportSource } from './report.ts';

/** A prefix that the host already uses, and its use. */
interface TakenPrefix {
  readonly prefix: IpPrefix;
  readonly use: string;
}

/**
 * Subnets to choose from, in this order. They are in all three private blocks (RFC 1918), because a host may
 * route a whole block to a VPN. Docker, podman, CRI-O and common cluster installers use none of those in
 * 10.0.0.0/8 by default. Docker chooses its own networks from 172.16.0.0/12 and 192.168.0.0/16, too, but only
 * subnets that the host does not use.
 */
const candidates: readonly string[] = [
  ...Array.from({ length: 10 }, (_, index) => `10.${210 + index}.0.0/16`),
  ...Array.from({ length: 4 }, (_, index) => `172.${20 + index}.0.0/16`),
  ...Array.from({ length: 10 }, (_, index) => `192.168.${210 + index}.0/24`),
];

/**
 * A shorter route is a default route, also when a VPN writes it as two halves (0.0.0.0/1 and 128.0.0.0/1): it
 * does not say who uses the addresses.
 */
const shortestRoute = 8;

/**
 * Returns the first candidate that overlaps nothing that the host uses.
 * @throws PortcullisError NETWORK_NO_FREE_SUBNET; NETWORK_KERNEL_<ERRNO>
 */
export function freeSubnet(source: ReportSource): string {
  const taken = takenPrefixes(source);
  const free = chooseSubnet(taken, candidates);
  if (free !== undefined) return free;
  throw new PortcullisError({
    code: 'NETWORK_NO_FREE_SUBNET',
    kind: 'precondition',
    attempted: 'choose a subnet for pods',
    on: candidates.join(', '),
    why: 'each of them overlaps an address, a route or a network of this host',
    fix: 'give a free subnet with --subnet',
  });
}

/**
 * Refuses a subnet that overlaps what the host uses.
 * @throws PortcullisError NETWORK_SUBNET_TAKEN; NETWORK_KERNEL_<ERRNO>
 */
export function requireFreeSubnet(source: ReportSource, subnet: string): void {
  const prefix = parsePrefix(subnet);
  // A subnet that cannot be parsed is reported when the configuration is read.
  if (prefix === undefined) return;
  const found = takenPrefixes(source).find((each) => overlaps(each.prefix, prefix));
  if (found === undefined) return;
  throw new PortcullisError({
    code: 'NETWORK_SUBNET_TAKEN',
    kind: 'already-exists',
    attempted: 'use the subnet for pods',
    on: subnet,
    why: `${found.use} overlaps it`,
    fix: 'give another subnet; if you want this one, use portcullis network create, which does not compare routes',
  });
}

/** Returns the first candidate that overlaps none of the prefixes. */
function chooseSubnet(taken: readonly TakenPrefix[], from: readonly string[]): string | undefined {
  return from.find((candidate) => {
    const prefix = parsePrefix(candidate);
    return prefix !== undefined && !taken.some((each) => overlaps(each.prefix, prefix));
  });
}

const overlaps = (one: IpPrefix, other: IpPrefix): boolean =>
  contains(one, other.address) || contains(other, one.address);

/**
 * The subnets of the host's addresses, its routes, and the networks of the conf folder. The default bridge is
 * left out: the new network uses it.
 */
function takenPrefixes(source: ReportSource): readonly TakenPrefix[] {
  const taken: TakenPrefix[] = [];
  for (const { link, address, length } of hostAddresses())
    if (link !== defaultBridge)
      taken.push({ prefix: { address, length }, use: `${formatIp(address)}/${length} of the link ${link}` });
  for (const { link, prefix } of hostRoutes())
    if (link !== defaultBridge && prefix.length >= shortestRoute)
      taken.push({
        prefix,
        use: `the route to ${formatIp(prefix.address)}/${prefix.length}${link === '' ? '' : ` by the link ${link}`}`,
      });
  for (const { name, subnets } of readNetworkReport(source).networks)
    append(
      taken,
      subnets.flatMap((subnet) => {
        const prefix = parsePrefix(subnet);
        return prefix === undefined ? [] : [{ prefix, use: `${subnet} of the network ${name}` }];
      }),
    );
  return taken;
}
