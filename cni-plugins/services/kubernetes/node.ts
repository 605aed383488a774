import { isIP } from 'node:net';
import { canonicalRange } from '../source-ranges/ranges.ts';
import { fieldsOf, listOf, textOf } from '../../../base/kubernetes/index.ts';

/** The parts of this node's Node object that services depend on (v1 Node). */
export interface NodeFacts {
  /** The label topology.kubernetes.io/zone. */
  readonly zone?: string;
  /** The addresses of the type InternalIP, at most one of a family: the first. */
  readonly addresses: readonly string[];
  /** The prefixes from which the cluster assigns addresses to the pods of this node (`spec.podCIDRs`). */
  readonly podRanges: readonly string[];
  /**
   * The node is about to go: it is being deleted, or the cluster autoscaler marked it. Load balancers must
   * send it no further connections (KEP-3836).
   */
  readonly isLeaving: boolean;
}

/** The API allows one of each family. */
const mostPodRanges = 2;

const leavingTaint = 'ToBeDeletedByClusterAutoscaler';

export function readNode(object: unknown): NodeFacts {
  const { metadata, spec, status } = fieldsOf(object);
  const { labels, deletionTimestamp } = fieldsOf(metadata);
  const zone = textOf(fieldsOf(labels)['topology.kubernetes.io/zone']);
  const internal = listOf(fieldsOf(status)['addresses'])
    .map(fieldsOf)
    .filter(({ type }) => type === 'InternalIP')
    .map(({ address }) => textOf(address));
  const addresses = [4, 6].flatMap((family) => internal.find((text) => isIP(text) === family) ?? []);
  const { podCIDR, podCIDRs = [podCIDR], taints } = fieldsOf(spec);
  const podRanges = listOf(podCIDRs)
    .slice(0, mostPodRanges)
    .flatMap((text) => canonicalRange(textOf(text)) ?? []);
  const isMarked = listOf(taints).some((taint) => fieldsOf(taint)['key'] === leavingTaint);
  return {
    ...(zone !== '' && { zone }),
    addresses,
    podRanges,
    isLeaving: isMarked || textOf(deletionTimestamp) !== '',
  };
}
