import { PortcullisError } from '../../base/errors/index.ts';
import { formatIp, networkOf, parsePrefix } from '../../base/addresses/index.ts';
import type { IpPrefix } from '../../base/addresses/index.ts';

/** The network of pods of a node whose subnet the cluster assigns. */
export interface NodeNetworkSettings {
  /** `node`: `spec.podCIDRs` of this node's Node object. `runtimeConfig`: what the kubelet sends. */
  readonly from: 'node' | 'runtimeConfig';
  /** The pod subnets of all nodes are in these prefixes, and nothing else is. */
  readonly ranges: readonly string[];
  /** Read again for each request, with the files that it names. Absent: no Node object is read. */
  readonly kubeconfig?: string;
  /** Pod subnets that the kubelet sent before this thread started. Absent: none yet. */
  readonly sent?: readonly string[];
  /** The name of this node in the cluster. */
  readonly nodeName: string;
  /** Whether this node routes to the pod subnets of the other nodes. */
  readonly routes: boolean;
  /** Name of the network, and of its conflist. */
  readonly name: string;
  /** This network's own folder: the subnets in use. */
  readonly folder: string;
  readonly confDir: string;
  /** Rejects when the file system of that folder does not answer. Absent: it is not asked. */
  readonly confDirAnswers?: () => Promise<void>;
  /** Prefix of the conflist's name: files are read in order of their names. */
  readonly order: string;
  /**
   * How long a configuration must have been gone until no pod is attached by it any more, in ms, before the
   * node gets another subnet.
   */
  readonly settleMs?: number;
}

/** The bridge that this node's pods are attached to. A link's name has at most 15 characters. */
export const bridgeName = 'portcullis-pods';
/** The table that hides pods behind the node outside of the cluster. */
export const masqueradeTable = 'portcullis-pods';

/** Reads the ranges. @throws NODE_NETWORK_SETTINGS_INVALID */
export function readRanges({ ranges }: Pick<NodeNetworkSettings, 'ranges'>): readonly IpPrefix[] {
  return ranges.map((text) => {
    const prefix = parsePrefix(text);
    if (prefix === undefined) throw invalid(text, 'it is not a prefix like 10.244.0.0/16');
    if (networkOf(prefix).value !== prefix.address.value)
      throw invalid(text, 'it has bits beyond its prefix length');
    if (prefix.length < 8)
      throw invalid(text, 'its prefix length is less than 8, so it would contain addresses of others');
    return prefix;
  });
}

/** Returns a prefix as text, such as `10.244.1.0/24`. */
export const prefixText = ({ address, length }: IpPrefix): string => `${formatIp(address)}/${length}`;

function invalid(given: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'NODE_NETWORK_SETTINGS_INVALID',
    kind: 'invalid',
    attempted: 'read the ranges of the pod network',
    on: JSON.stringify(given),
    why,
    fix: 'correct `network.pods.ranges` in the configuration',
  });
}
