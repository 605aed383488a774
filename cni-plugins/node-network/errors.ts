import { formatIp } from '../../base/addresses/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import type { RefusedNode } from './claims.ts';
import type { NodeNetworkSettings } from './settings.ts';
import type { HostAddress } from './routes.ts';

/** Why a node has no network for its pods. Each is the reason of NetworkReady. */

export function subnetUnknown(
  { from, nodeName }: Pick<NodeNetworkSettings, 'from' | 'nodeName'>,
  away: string | undefined,
): PortcullisError {
  const isByNode = from === 'node';
  return new PortcullisError({
    code: 'NODE_NETWORK_SUBNET_UNKNOWN',
    kind: 'precondition',
    attempted: 'set up the pod network of the node',
    on: nodeName,
    why: isByNode
      ? (away ?? 'its Node object has no spec.podCIDRs yet')
      : 'the kubelet has not sent a pod subnet (UpdateRuntimeConfig) yet',
    fix: isByNode
      ? 'start kube-controller-manager with --allocate-node-cidrs, and check that the API server can be reached; the setup is retried'
      : 'start the kubelet, and kube-controller-manager with --allocate-node-cidrs',
  });
}

export function subnetRefused({ node, what, why }: RefusedNode): PortcullisError {
  return new PortcullisError({
    code: 'NODE_NETWORK_SUBNET_REFUSED',
    kind: 'precondition',
    attempted: 'set up the pod network of the node',
    on: `${node} from ${JSON.stringify(what)}`,
    why,
    fix: 'correct the subnet of the Node object, or `network.pods.ranges` in the configuration',
  });
}

export function stateDamaged(path: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'NODE_NETWORK_STATE_DAMAGED',
    kind: 'data-loss',
    attempted: 'read the pod subnets of this node from',
    on: path,
    why: `${why}, and the bridge of the pods has no address that shows the subnets`,
    fix: 'restore the file, or drain the node and remove the file',
  });
}

export function subnetChanging(nodeName: string, wanted: readonly string[]): PortcullisError {
  return new PortcullisError({
    code: 'NODE_NETWORK_SUBNET_CHANGED',
    kind: 'precondition',
    attempted: 'change the pod subnet of the node',
    on: `${nodeName} ${wanted.join(' ')}`,
    why: 'pods that are being attached may still get an address of the former subnet',
    fix: 'wait a few seconds',
  });
}

export function subnetChanged(
  nodeName: string,
  held: readonly string[],
  wanted: readonly string[],
  pods: number,
): PortcullisError {
  return new PortcullisError({
    code: 'NODE_NETWORK_SUBNET_CHANGED',
    kind: 'precondition',
    attempted: 'change the pod subnet of the node',
    on: `${nodeName} ${wanted.join(' ')}`,
    why: `${pods} ${pods === 1 ? 'pod has' : 'pods have'} addresses of ${held.join(' ')}, and would lose their connections`,
    fix: 'drain the node; it uses the new subnet as soon as it has no pod',
  });
}

export function rangeTaken(range: string, { address, length }: HostAddress): PortcullisError {
  return new PortcullisError({
    code: 'NODE_NETWORK_RANGE_TAKEN',
    kind: 'precondition',
    attempted: 'set up a pod network in the range',
    on: range,
    why: `the address ${formatIp(address)}/${length} of this host is in the range`,
    fix: 'change that address, or `network.pods.ranges` in the configuration',
  });
}

export function serverInRange(range: string, server: string): PortcullisError {
  return new PortcullisError({
    code: 'NODE_NETWORK_RANGE_TAKEN',
    kind: 'precondition',
    attempted: 'set up a pod network in the range',
    on: range,
    why: `the address ${server} of the API server is in the range`,
    fix: 'use an address of the API server itself in the kubeconfig, or correct `network.pods.ranges`',
  });
}
