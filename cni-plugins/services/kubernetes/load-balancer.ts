import { isIP } from 'node:net';
import { contains, parseIp, parsePrefix } from '../../../base/addresses/index.ts';
import { maxSourceRanges } from '../description/schema.ts';
import type { Service } from '../model/model.ts';
import type { Place } from './endpoints.ts';
import type { KubernetesService } from './objects.ts';

/** Source ranges, counted for each virtual server to which they apply. */
const mostRangesOfServers = 65_536;
/** Prefixes that contain no client: the unspecified addresses (RFC 6890). */
const nobody: Readonly<Record<4 | 6, string>> = { 4: '0.0.0.0/32', 6: '::/128' };

/**
 * The source of a connection of the node itself may be the address of the load balancer. Where the node may
 * connect, it may connect from there, as with kube-proxy.
 */
function ownSources(
  ranges: readonly string[],
  balanced: readonly string[],
  nodeAddresses: readonly string[],
  family: 4 | 6,
): readonly string[] {
  const mayNode = nodeAddresses.some((text) => {
    const address = parseIp(text);
    return ranges.some((range) => {
      const prefix = parsePrefix(range);
      return address !== undefined && prefix?.address.family === address.family && contains(prefix, address);
    });
  });
  if (!mayNode) return [];
  return balanced.filter((text) => isIP(text) === family).map((text) => `${text}/${family === 4 ? 32 : 128}`);
}

/**
 * As in kube-proxy, ranges of a family restrict the load balancer addresses of that family, and a family
 * without any range is open. A range that cannot be read is kept as a range without any client, so that a
 * requested restriction always applies.
 */
export function loadBalancerOf(
  { ingressIPs, sourceRanges, ports }: KubernetesService,
  { nodeAddresses = [] }: Place,
  notes: string[],
): Pick<Service, 'loadBalancerAddresses' | 'loadBalancerSourceRanges'> {
  if (ingressIPs.length === 0) return {};
  const loadBalancerAddresses = [...new Set(ingressIPs)];
  const [prefixes, unread] = [
    sourceRanges.filter((range) => parsePrefix(range)),
    sourceRanges.filter((range) => !parsePrefix(range)),
  ];
  if (unread.length > 0)
    notes.push(
      `loadBalancerSourceRanges ${unread.map((range) => JSON.stringify(range)).join(', ')}: not a prefix, so it matches no client`,
    );
  const most = Math.min(
    maxSourceRanges,
    Math.floor(mostRangesOfServers / (ports.length * loadBalancerAddresses.length)),
  );
  if (prefixes.length > most)
    notes.push(
      `loadBalancerSourceRanges: ${most} of ${prefixes.length} are in force: this is the limit for its addresses and ports`,
    );
  const ranges = ([4, 6] as const).flatMap((family) => {
    const inForce = prefixes.slice(0, most).filter((range) => parsePrefix(range)?.address.family === family);
    const ofNode = ownSources(inForce, loadBalancerAddresses, nodeAddresses, family);
    const own = [...inForce, ...ofNode.slice(0, Math.max(0, most - inForce.length))];
    if (own.length > 0 || unread.length > 0 || prefixes.length > most)
      return [...own, ...(own.length === 0 ? [nobody[family]] : [])];
    if (prefixes.length > 0 && loadBalancerAddresses.some((address) => isIP(address) === family))
      notes.push(
        `loadBalancerSourceRanges has no IPv${family} range: the IPv${family} addresses of its load balancer are open to every client, as with kube-proxy`,
      );
    return [];
  });
  return { loadBalancerAddresses, ...(ranges.length > 0 && { loadBalancerSourceRanges: ranges }) };
}
