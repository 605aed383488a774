import { hostname } from 'node:os';
import type { DaemonConfig } from './config/types.ts';

type KubernetesConfig = DaemonConfig['network']['kubernetes'];

/** Returns how the API of the node's cluster is reached. */
export const placeOf = (
  kubernetes: KubernetesConfig,
): { readonly kubeconfig?: string; readonly servers?: readonly string[] } => ({
  ...(kubernetes?.kubeconfig !== undefined && { kubeconfig: kubernetes.kubeconfig }),
  ...(kubernetes !== undefined && kubernetes.servers.length > 0 && { servers: kubernetes.servers }),
});

/** Returns the node's name: without a configured one, the name that a kubelet gives its node by default. */
export const nodeNameOf = (kubernetes: KubernetesConfig): string =>
  kubernetes?.nodeName ?? hostname().toLowerCase();

/**
 * Returns how the cluster is reached whose objects the node follows, and the node's name in it: what
 * `cluster` does not say, `network.kubernetes` says.
 */
export function clusterPlaceOf({
  cluster,
  network: { kubernetes },
}: Pick<DaemonConfig, 'cluster' | 'network'>): {
  readonly place: ReturnType<typeof placeOf>;
  readonly nodeName: string;
} {
  const own = cluster?.kubeconfig !== undefined || (cluster?.servers.length ?? 0) > 0;
  const { kubeconfig, servers = [] } = (own ? cluster : kubernetes) ?? {};
  return {
    place: {
      ...(kubeconfig !== undefined && { kubeconfig }),
      ...(servers.length > 0 && { servers }),
    },
    nodeName: cluster?.nodeName ?? nodeNameOf(kubernetes),
  };
}
