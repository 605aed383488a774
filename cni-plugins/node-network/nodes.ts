import { parseIp } from '../../base/addresses/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';
import { fieldsOf, listOf, textOf } from '../../base/kubernetes/index.ts';

/**
 * The relevant parts of a Node object (Kubernetes API, v1.Node). Every field is what the node or a user
 * wrote.
 */
export interface ClusterNode {
  readonly name: string;
  /** `metadata.creationTimestamp`, which only the API server sets: RFC 3339 in UTC, sortable as text. */
  readonly created: string;
  /** `metadata.uid`, which the API server alone sets, at random. */
  readonly uid: string;
  /** `spec.podCIDRs` as they are written, or `spec.podCIDR`. */
  readonly subnets: readonly string[];
  /** `status.addresses` of type InternalIP that are addresses. */
  readonly addresses: readonly IpAddress[];
}

/** The API server accepts one subnet for each family. */
const mostSubnets = 2;
/** More than any node has. */
const mostAddresses = 32;

/** Reads a Node object. Returns undefined if it has no name. */
export function readNode(object: unknown): ClusterNode | undefined {
  const { metadata, spec, status } = fieldsOf(object);
  const { name, creationTimestamp, uid } = fieldsOf(metadata);
  if (textOf(name) === '') return undefined;
  const { podCIDR, podCIDRs } = fieldsOf(spec);
  const several = listOf(podCIDRs).map(textOf);
  return {
    name: textOf(name),
    created: textOf(creationTimestamp),
    uid: textOf(uid),
    subnets: (several.length > 0 ? several : [textOf(podCIDR)])
      .filter((text) => text !== '')
      .slice(0, mostSubnets)
      .map((text) => text.slice(0, 64)),
    addresses: listOf(fieldsOf(status)['addresses'])
      .slice(0, mostAddresses)
      .flatMap((entry) => {
        const { type, address } = fieldsOf(entry);
        return type === 'InternalIP' ? (parseIp(textOf(address)) ?? []) : [];
      }),
  };
}

/** Returns whether two readings of a node say the same. */
export const sameNode = (a: ClusterNode | undefined, b: ClusterNode | undefined): boolean =>
  a === b || (a !== undefined && b !== undefined && textOfNode(a) === textOfNode(b));

const textOfNode = ({ created, uid, subnets, addresses }: ClusterNode): string =>
  [created, uid, ...subnets, '', ...addresses.map(({ family, value }) => `${family} ${value}`)].join('\n');
