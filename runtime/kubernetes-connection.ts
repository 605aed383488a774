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
