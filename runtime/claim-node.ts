import type { Logger } from '../base/log/index.ts';
import { claimNetworkNamespace } from '../cni-plugins/index.ts';
import type { DaemonConfig } from './config/types.ts';
import { refuseListener } from './cri/unix-listener.ts';
import { makeFolders } from './state/folders.ts';
import { claimFolders } from './state/instance-lock.ts';

export interface ClaimedNode {
  readonly folders: Awaited<ReturnType<typeof makeFolders>>;
  /** Releases the claims. They also end with the process. */
  release(): void;
}

/**
 * Claims the folders of the daemon and its network namespace before anything in them changes. Another running
 * daemon keeps its socket, its folders and the network of its pods.
 * @throws CRI_SOCKET_IN_USE · CRI_SOCKET_OCCUPIED · RUNTIME_ROOT_IN_USE · NETWORK_NAMESPACE_IN_USE
 */
export async function claimNode(config: DaemonConfig, log: Logger): Promise<ClaimedNode> {
  await refuseListener(config.socket);
  const folders = await makeFolders(config);
  const releaseFolders = await claimFolders(config);
  try {
    const releaseNetwork = claimNetworkNamespace(log.child({ component: 'network' }));
    return {
      folders,
      release() {
        releaseNetwork();
        releaseFolders();
      },
    };
  } catch (thrown) {
    releaseFolders();
    throw thrown;
  }
}
