import { join } from 'node:path';
import type { Logger } from '../base/log/index.ts';
import type { StartProgram } from '../base/reactor/index.ts';
import { createNetworkEngine } from '../cni-plugins/index.ts';
import type {
  EngineThreadLoader,
  NameFigures,
  NetworkEngine,
  NetworkEngineOptions,
} from '../cni-plugins/index.ts';
import type { DaemonConfig } from './config/types.ts';
import type { HostPaths } from './host-paths/host-paths.ts';
import { openDaemonNodeNetwork } from './node-network.ts';
import type { DaemonNodeNetwork } from './node-network.ts';
import { nodeNameOf, placeOf } from './kubernetes-connection.ts';
import { openDaemonNameServer } from './name-server.ts';
import { followNetworkFolders } from './network-folders.ts';
import { ballastIn, withRoom } from './database/open-database.ts';

/** The network engine, and the name server, which starts when there are names to answer. */
export interface DaemonNetwork extends NetworkEngine {
  /** Undefined while no name server runs. */
  nameFigures(): Promise<NameFigures | undefined>;
  readonly nodeNetwork: Pick<DaemonNodeNetwork, 'runtimeConfig' | 'status'>;
}

export interface NetworkDeps {
  readonly startProgram: StartProgram;
  readonly paths: HostPaths;
  readonly log: Logger;
  /** Receives the duration of each attachment and detachment. */
  readonly onAct: NonNullable<NetworkEngineOptions['onAct']>;
  readonly networkThreads: EngineThreadLoader;
  /** Nothing in the network changes before this resolves. */
  readonly after: Promise<unknown>;
}

/** Opens the network engine and the name server, as configured. */
export async function openNetwork(config: DaemonConfig, deps: NetworkDeps): Promise<DaemonNetwork> {
  const { startProgram, paths, log, onAct, networkThreads, after } = deps;
  const { root, cni, network } = config;
  const names = openDaemonNameServer(config, log);
  const folders = await followNetworkFolders({
    folders: [cni.confDir, network.policies].filter((folder) => folder !== ''),
    copies: join(config.state, 'network-folders'),
    paths,
    log,
  });
  const options: NetworkEngineOptions = {
    databasePath: join(root, 'network.db'),
    ballast: ballastIn(root),
    confDir: cni.confDir,
    policyDir: network.policies,
    ...(network.kubernetes?.policies === true && {
      policyCluster: { place: placeOf(network.kubernetes), nodeName: nodeNameOf(network.kubernetes) },
    }),
    checkedFolders: folders.checkedFolders,
    choice: { plugins: network.plugins, maxConfigs: network.maxConfigs },
    programs: { startProgram, binDirs: cni.binDirs, timeoutMs: network.pluginTimeout * 1000 },
    cacheDir: network.cacheDir,
    onAct,
    onNamed: names.start,
    after,
    threads: networkThreads,
    log,
  };
  const engine = await withRoom(root, () => createNetworkEngine(options));
  names.startForCluster();
  const nodeNetwork = openDaemonNodeNetwork(config, paths, log);
  return {
    ...engine,
    nameFigures: names.figures,
    status: () => nodeNetwork.statusOver(engine),
    nodeNetwork,
    async askNames(...given) {
      const found = await engine.askNames(...given);
      // A pod that gets the address of the name server must get answers from it.
      await names.ready();
      return found;
    },
    async close(options) {
      folders.close();
      await nodeNetwork.close();
      await names.close();
      await engine.close(options);
    },
  };
}
