import { join } from 'node:path';
import type { Logger } from '../base/log/index.ts';
import type { StartProgram } from '../base/reactor/index.ts';
import { createNetworkEngine } from '../cni-plugins/index.ts';
import type { NetworkEngine, NetworkEngineOptions } from '../cni-plugins/index.ts';
import type { DaemonConfig } from './config/types.ts';

/** The network engine as it is configured. @param onAct hears how long attaching and detaching took */
export function openNetwork(
  { root, cni, network }: DaemonConfig,
  startProgram: StartProgram,
  log: Logger,
  onAct: NonNullable<NetworkEngineOptions['onAct']>,
): Promise<NetworkEngine> {
  return createNetworkEngine({
    databasePath: join(root, 'network.db'),
    confDir: cni.confDir,
    policyDir: network.policies,
    choice: { plugins: network.plugins, maxConfigs: network.maxConfigs },
    programs: { startProgram, binDirs: cni.binDirs, timeoutMs: network.pluginTimeout * 1000 },
    cacheDir: network.cacheDir,
    onAct,
    log: log.child({ room: 'network' }),
  });
}
