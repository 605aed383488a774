import { chmod, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFolder } from '../../base/storage/index.ts';
import type { DaemonConfig } from '../config/types.ts';

/** Where the daemon keeps state that ends with a boot. */
export interface StateFolders {
  readonly pods: string;
  readonly containers: string;
  readonly oci: string;
  readonly attach: string;
  /** Where prepared monitors keep their logs until a container has them. On disk, as the logs of pods are. */
  readonly monitorLogs: string;
  /**
   * Where root file systems of pods with a user namespace are mounted. Their root must be able to pass
   * through the folder.
   */
  readonly mappedRoots: string;
}

/**
 * Creates root and state with their subfolders, for root only (0700). Other users may only pass through the
 * state folder if the configuration lets them reach the socket there, or if they are a pod's root.
 */
export async function makeFolders(
  config: Pick<DaemonConfig, 'root' | 'state' | 'peers'>,
): Promise<StateFolders> {
  const own = {
    pods: join(config.state, 'pods'),
    containers: join(config.state, 'containers'),
    oci: join(config.state, 'oci'),
    attach: join(config.state, 'a'),
    monitorLogs: join(config.root, 'monitor-logs'),
  };
  const mappedRoots = join(config.state, 'u');
  for (const folder of [config.root, config.state, ...Object.values(own)]) await makeFolder(folder);
  await makeFolder(mappedRoots, 0o711);
  // A folder that exists, such as a mounted volume, may be open to other users.
  await chmod(config.root, 0o700);
  const others =
    config.peers.uids.length + config.peers.gids.length > 0 || (await readdir(mappedRoots)).length > 0;
  await chmod(config.state, others ? 0o711 : 0o700);
  return { ...own, mappedRoots };
}
