import type { Objects } from './changes.ts';
import type { Difference } from './compare.ts';
import type { FlowDifference } from './flows.ts';
import { clients, gatewayAddresses, nodeAddresses } from './layout.ts';

/** The differences that docs/services.md states, each with its reason. */

interface Expected {
  readonly reason: string;
  /** kube-proxy's mode. Absent: any. */
  readonly mode?: 'iptables';
  is(difference: Difference): boolean;
}

const ofNode: ReadonlySet<string> = new Set([
  ...Object.values(nodeAddresses),
  ...Object.values(gatewayAddresses),
]);
/** Clients that are neither this node nor its pods. */
const elsewhere: ReadonlySet<string> = new Set(
  clients.flatMap(({ name, end }) => (end === 'out' || end === 'far' ? [name] : [])),
);
const sameOutcomes = ({ reference, ours }: Difference): boolean =>
  reference.outcomes.join() === ours.outcomes.join() && reference.sticks === ours.sticks;

const isOnly = (outcomes: readonly string[], one: string): boolean =>
  outcomes.length === 1 && outcomes[0] === one;
/** Whether this is so for each source that the endpoints of both nodes see. */
const sourcesAre = ({ reference, ours }: Difference, allowed: (source: string) => boolean): boolean =>
  [...reference.sources, ...ours.sources].every(allowed);

const refusesFormer =
  'Portcullis refuses connections to an address that a Service no longer has, until its grace period is over, and to ports that a Service no longer has at any of its addresses. kube-proxy refuses only ports of cluster addresses.';

export const expected: readonly Expected[] = [
  {
    reason:
      'kube-proxy masquerades connections to a cluster address that are not from pods of the node. Portcullis keeps the address of each client whose answers come back through the node.',
    is: (difference) =>
      sameOutcomes(difference) &&
      difference.question.target.of === 'cluster' &&
      elsewhere.has(difference.question.client.name) &&
      sourcesAre(difference, (source) => source === 'client' || ofNode.has(source)),
  },
  {
    reason:
      'kube-proxy masquerades connections of the node itself: endpoints see the address of the link towards them. With Portcullis they can also see the address of the node that the connection had before.',
    is: (difference) =>
      sameOutcomes(difference) &&
      difference.question.client.name === 'host' &&
      sourcesAre(difference, (source) => ofNode.has(source)),
  },
  {
    reason:
      'With iptables, kube-proxy passes on connections to ports that a Service lacks at its cluster address. Portcullis refuses them, as kube-proxy does with nf_tables.',
    mode: 'iptables',
    is: ({ question: { target }, reference, ours }) =>
      target.of === 'unserved' &&
      isOnly(reference.outcomes, 'dropped') &&
      isOnly(ours.outcomes, 'ECONNREFUSED'),
  },
  {
    reason:
      'With iptables, kube-proxy does not refuse connections of the node itself to an external address without an endpoint. Portcullis refuses them, as kube-proxy does with nf_tables.',
    mode: 'iptables',
    is: ({ question: { client, target }, reference, ours }) =>
      client.name === 'host' &&
      (target.of === 'external' || target.of === 'load balancer') &&
      isOnly(reference.outcomes, 'dropped') &&
      isOnly(ours.outcomes, 'ECONNREFUSED'),
  },
  {
    reason: refusesFormer,
    is: ({ question: { target }, reference, ours }) =>
      target.isFormer === true &&
      isOnly(reference.outcomes, 'dropped') &&
      isOnly(ours.outcomes, 'ECONNREFUSED'),
  },
];

/** Returns why a difference is expected. Absent: it is a defect. @param mode kube-proxy's */
export const explain = (difference: Difference, mode: 'iptables' | 'nftables'): string | undefined =>
  expected.find((each) => (each.mode ?? mode) === mode && each.is(difference))?.reason;

/** Whether an endpoint of the service, of the family of the address, still serves. */
const hasServing = ({ slices }: Objects, { address, service }: FlowDifference['target']): boolean =>
  (slices.get(service.metadata.name) ?? []).some(
    ({ addressType, endpoints }) =>
      addressType === (address.includes(':') ? 'IPv6' : 'IPv4') &&
      endpoints.some(({ conditions }) => conditions.serving !== false),
  );

/** Returns why a difference between flows is expected. */
export function explainFlow(difference: FlowDifference, objects: Objects): string | undefined {
  const { target, reference, ours } = difference;
  if (target.protocol !== 'udp' || ours.has('continues')) return undefined;
  const service = objects.services.get(target.service.metadata.name);
  const isGone = service?.spec.clusterIPs === undefined;
  if (isGone && isOnly([...reference], 'dropped') && isOnly([...ours], 'ECONNREFUSED')) return refusesFormer;
  if (!isOnly([...reference], 'continues')) return undefined;
  if (isGone)
    return 'Flows of UDP to a removed Service end at once. With kube-proxy they continue to the same endpoint.';
  if (!hasServing(objects, target))
    return 'Flows of UDP to an endpoint that is gone end at once. With kube-proxy they continue if no other endpoint serves.';
  return undefined;
}
