import { failure } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import { bareType } from '../calls/plugin-type.ts';
import { contains, formatIp, lastOf, parseIp, parsePrefix } from '../../base/addresses/index.ts';
import type { IpPrefix } from '../../base/addresses/index.ts';
import { hostAddresses } from './host-links.ts';
import { defaultBridge } from './report.ts';
import type { ReportedNetwork } from './report.ts';
import { leastIpv6Mtu } from '../spec/ipv6-mtu.ts';
import { unusableIn } from '../spec/unusable-ranges.ts';

/** A network that a command asks for. */
export interface NewNetwork {
  readonly name: string;
  readonly type: 'bridge' | 'ipvlan' | 'macvlan' | 'ptp';
  /** CIDR blocks. A pod gets one address from each. */
  readonly subnets: readonly string[];
  /** In the order of the subnets. A subnet without a gateway uses its first address. */
  readonly gateways: readonly string[];
  readonly mtu?: number;
  /** For bridge: the name of the bridge. For macvlan and ipvlan: the link of the host. */
  readonly link?: string;
  readonly masquerade: boolean;
  /** For bridge: pods on other separated bridges do not reach its pods, and its pods do not reach them. */
  readonly separated: boolean;
  /** For bridge: its pods have no way out, and no client outside has a way in. */
  readonly internal: boolean;
  /** Kubernetes namespaces whose pods may request the network by annotation; `*` means all. */
  readonly podNamespaces: readonly string[];
  /** The prefix of the file name. Files are read in lexicographic order. */
  readonly order: string;
}

const overlap = (some: readonly string[], others: readonly string[]): boolean =>
  prefixesIn(some).some((one) =>
    prefixesIn(others).some((other) => contains(one, other.address) || contains(other, one.address)),
  );

const prefixesIn = (subnets: readonly string[]): IpPrefix[] =>
  subnets.flatMap((subnet) => parsePrefix(subnet) ?? []);

/**
 * Refuses a network that no pod could use, or that would take connections of another one.
 * @param networks that exist
 * @throws PortcullisError NETWORK_CONFLIST_INVALID · NETWORK_SUBNET_TAKEN
 */
export function refuseUnfit(wanted: NewNetwork, networks: readonly ReportedNetwork[]): void {
  refuseNames(wanted);
  refuseUnusable(wanted);
  refuseGateways(wanted);
  refuseOverlap(wanted, networks);
}

/** Refuses a link that could carry nothing of the network, and namespaces that no pod can have. */
function refuseNames({ name, type, link, podNamespaces }: NewNetwork): void {
  if (link === 'lo')
    throw invalid(name, 'lo is the loopback link of the host, to which no other link can be connected');
  if (link !== undefined && type === 'ptp')
    throw invalid(
      name,
      'a network of the type ptp has a link of its own for each pod, and takes no other link',
    );
  const wrong = podNamespaces.find((each) => each !== '*' && !isNamespaceName(each));
  if (wrong !== undefined)
    throw invalid(
      name,
      `${JSON.stringify(wrong)} is not the name of a namespace: lower-case letters, digits and -, at most 63, with a letter or digit at both ends; * means all`,
    );
}

/** Returns whether it is a DNS label (RFC 1123), as Kubernetes requires of namespaces. */
const isNamespaceName = (text: string): boolean => /^(?=.{1,63}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?$/u.test(text);

function refuseUnusable({ name, subnets, mtu = leastIpv6Mtu }: NewNetwork): void {
  const ipv6 = prefixesIn(subnets).some(({ address }) => address.family === 6);
  if (ipv6 && mtu < leastIpv6Mtu)
    throw invalid(name, `its MTU is ${mtu}, and a subnet of IPv6 needs ${leastIpv6Mtu}`);
  for (const subnet of subnets)
    for (const of of prefixesIn([subnet]).flatMap((prefix) => unusableIn(prefix) ?? []))
      throw invalid(name, `addresses of ${subnet} are ${of}: no pod could be reached through them`);
}

/** Refuses gateways that no pod could use, and those of no subnet. */
function refuseGateways({ name, subnets, gateways }: NewNetwork): void {
  if (gateways.length > subnets.length) throw invalid(name, 'there are more gateways than subnets');
  for (const [index, text] of gateways.entries()) {
    const [subnet] = prefixesIn(subnets.slice(index, index + 1));
    if (subnet?.address.family === 4 && parseIp(text)?.value === lastOf(subnet).value)
      throw invalid(name, `the gateway ${text} is the broadcast address of its subnet`);
  }
}

/**
 * Refuses overlapping subnets. The host routes a subnet to one link, so pods of another network with the same
 * addresses would be unreachable. Links below a master need no route.
 */
function refuseOverlap(wanted: NewNetwork, networks: readonly ReportedNetwork[]): void {
  if (!isRouted(wanted)) return;
  const { name, subnets, link } = wanted;
  for (const other of networks) {
    const routed =
      other.bridges.length > 0 || other.plugins.some((each) => bareType(each.split('/')[0] ?? '') === 'ptp');
    if (!routed || other.file === undefined || (link !== undefined && other.bridges.includes(link))) continue;
    const taken = other.subnets.find((each) => overlap([each], subnets));
    if (taken !== undefined)
      throw overlaps(name, `${taken} of the network ${other.name} (${other.file}) overlaps`);
  }
}

/**
 * Refuses a subnet that overlaps one of a network that would be created together with this one.
 * @throws PortcullisError NETWORK_SUBNET_TAKEN
 */
export function refuseOverlapWith(wanted: NewNetwork, others: readonly NewNetwork[]): void {
  if (!isRouted(wanted)) return;
  for (const other of others) {
    if (!isRouted(other) || (wanted.link !== undefined && wanted.link === other.link)) continue;
    const taken = other.subnets.find((each) => overlap([each], wanted.subnets));
    if (taken !== undefined) throw overlaps(wanted.name, `${taken} of the network ${other.name} overlaps`);
  }
}

/** Whether the host routes the subnets of the network to a link. */
const isRouted = ({ type }: NewNetwork): boolean => type === 'bridge' || type === 'ptp';

/**
 * Refuses a bridge with an address or subnet of another link of the host: one of the two would be
 * unreachable.
 * @param gone links that do not matter
 * @throws PortcullisError NETWORK_SUBNET_TAKEN
 */
export function refuseOwnAddress(
  { name, type, subnets, link = defaultBridge }: NewNetwork,
  gone: readonly string[],
): void {
  if (type !== 'bridge') return;
  for (const { link: other, address } of hostAddresses())
    if (other !== link && !gone.includes(other) && prefixesIn(subnets).some((own) => contains(own, address)))
      throw overlaps(name, `the host has its address ${formatIp(address)} on the link ${other}`);
}

function overlaps(name: string, why: string): PortcullisError {
  return failure(
    'NETWORK_SUBNET_TAKEN',
    'already-exists',
    'create the network',
    name,
    why,
    'give another subnet',
  );
}

/** Returns the error of options that make no network. */
export function invalid(name: string, why: string): PortcullisError {
  return failure(
    'NETWORK_CONFLIST_INVALID',
    'invalid',
    'create the network',
    name,
    why,
    'correct the options; nothing was written',
  );
}
