import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Logger } from '../base/log/index.ts';
import { openNodeNetwork } from '../cni-plugins/index.ts';
import type { NetworkEngine, NetworkStatus, NodeNetwork, NodeNetworkStatus } from '../cni-plugins/index.ts';
import type { DaemonConfig } from './config/types.ts';
import { hasNoAnswer } from './host-paths/host-paths.ts';
import type { HostPaths } from './host-paths/host-paths.ts';

/** The network of the pods of a Kubernetes node, if one is configured. */
export interface DaemonNodeNetwork {
  /** Takes the subnets that the kubelet sent. @throws NODE_NETWORK_FAILED */
  runtimeConfig(podCidrs: readonly string[]): Promise<void>;
  /** Returns the condition NetworkReady: the engine's, unless the node has no network for its pods. */
  statusOver(engine: Pick<NetworkEngine, 'status'>): Promise<NetworkStatus>;
  /** Undefined: none is configured. */
  status(): Promise<NodeNetworkStatus | undefined>;
  close(): Promise<void>;
}

export function openDaemonNodeNetwork(
  config: DaemonConfig,
  paths: Pick<HostPaths, 'names'>,
  log: Logger,
): DaemonNodeNetwork {
  const network = start(config, paths, log);
  return {
    runtimeConfig: async (podCidrs) => network?.runtimeConfig(podCidrs),
    async statusOver(engine) {
      const own = await network?.status();
      const status = await engine.status();
      return own === undefined || own.ready
        ? status
        : { ...status, ready: false, reason: own.reason, message: own.message };
    },
    status: async () => network?.status(),
    close: async () => network?.close(),
  };
}

function start(
  { root, cni, network: { pods } }: DaemonConfig,
  paths: Pick<HostPaths, 'names'>,
  log: Logger,
): NodeNetwork | undefined {
  if (pods === undefined) return undefined;
  const { from, ranges, kubeconfig, nodeName = hostname().toLowerCase() } = pods;
  return openNodeNetwork(
    {
      from,
      ranges,
      ...(kubeconfig !== undefined && { kubeconfig }),
      nodeName,
      routes: pods.routes ?? true,
      name: pods.name ?? 'pods',
      order: pods.order ?? '10',
      folder: join(root, 'node-network'),
      confDir: cni.confDir,
    },
    // A folder that is missing, or cannot be listed, answers.
    async (folder) => {
      await paths.names(folder).catch((thrown: unknown) => {
        if (hasNoAnswer(thrown)) throw thrown;
      });
    },
    log,
  );
}
