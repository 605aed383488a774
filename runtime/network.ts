import { join } from 'node:path';
import type { Logger } from '../base/log/index.ts';
import { withBallast } from '../base/storage/index.ts';
import type { StartProgram } from '../base/reactor/index.ts';
import { createNetworkEngine } from '../cni-plugins/index.ts';
import type { NameFigures, NetworkEngine, NetworkEngineOptions } from '../cni-plugins/index.ts';
import type { DaemonConfig } from './config/types.ts';
import { openNames } from './names.ts';
import { ballastIn } from './state/open-database.ts';

/** The network engine, and the name server that starts where something has a name. */
export interface DaemonNetwork extends NetworkEngine {
  /** Undefined while no name server runs. */
  nameFigures(): Promise<NameFigures | undefined>;
}

/**
 * Both as they are configured.
 * @param onAct hears how long attaching and detaching took
 * @param after nothing of the network is changed before it resolves
 */
export async function openNetwork(
  config: DaemonConfig,
  startProgram: StartProgram,
  log: Logger,
  onAct: NonNullable<NetworkEngineOptions['onAct']>,
  after: Promise<unknown>,
): Promise<DaemonNetwork> {
  const { root, cni, network } = config;
  const names = openNames(config, log);
  const options: NetworkEngineOptions = {
    databasePath: join(root, 'network.db'),
    ballast: ballastIn(root),
    confDir: cni.confDir,
    policyDir: network.policies,
    choice: { plugins: network.plugins, maxConfigs: network.maxConfigs },
    programs: { startProgram, binDirs: cni.binDirs, timeoutMs: network.pluginTimeout * 1000 },
    cacheDir: network.cacheDir,
    onAct,
    onNamed: names.start,
    after,
    log,
  };
  const engine = await withBallast(ballastIn(root), () => createNetworkEngine(options));
  return {
    ...engine,
    nameFigures: names.figures,
    async askNames(...given) {
      const found = await engine.askNames(...given);
      // Whoever is told whom to ask is answered.
      await names.ready();
      return found;
    },
    async close(options) {
      await names.close();
      await engine.close(options);
    },
  };
}
