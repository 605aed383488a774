import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { createDockerDriver, openPluginEngine } from '../cni-plugins/index.ts';
import type { DockerDriver, DockerDriverOptions } from '../cni-plugins/index.ts';
import { reasonOf } from '../base/errors/index.ts';
import { startKernelWorker } from '../base/kernel/index.ts';
import { createLogger } from '../base/log/index.ts';
import type { LogLevel, Logger } from '../base/log/index.ts';
import { programStarter, startReactor } from '../base/reactor/index.ts';
import type { StartProgram } from '../base/reactor/index.ts';
import { makeFolder } from '../base/storage/index.ts';
import type { NetworkEngine } from '../cni-plugins/index.ts';
import type { DaemonConfig } from './config/types.ts';
import { listenUnix } from './cri/unix-listener.ts';

/** The socket of libnetwork's remote driver, in the daemon or in its own process. */
export interface DockerDriverService {
  /**
   * Refuses new calls and resolves when all pending calls have their answer. The networks of containers stay.
   */
  close(): Promise<void>;
}

/** Cleans up unfinished work of an earlier run before the first call is accepted. */
async function listen(socket: string, driver: DockerDriver): Promise<DockerDriverService> {
  await driver.recover();
  const listener = await listenUnix(socket, { group: 0, onConnection: driver.accept });
  await chmod(socket, 0o600);
  return {
    close: async () => {
      listener.close();
      await driver.close();
    },
  };
}

/**
 * Opens the driver in the daemon, if it is configured. A socket that cannot be opened is logged and is no
 * failure: pods do not need this driver.
 */
export async function openDockerDriver(
  { root, state, cni, network }: DaemonConfig,
  engine: Pick<NetworkEngine, 'callPlugin'>,
  startProgram: StartProgram,
  log: Logger,
): Promise<DockerDriverService> {
  const { dockerDriver: socket } = network;
  if (socket === undefined) return { close: () => Promise.resolve() };
  const driver = createDockerDriver({
    databasePath: join(root, 'network.db'),
    stagingDir: join(state, 'cnm'),
    confDir: cni.confDir,
    plugins: network.plugins,
    callPlugin: engine.callPlugin,
    programs: { startProgram, binDirs: cni.binDirs, timeoutMs: network.pluginTimeout * 1000 },
    dockerSocket: network.dockerSocket,
    log,
  });
  try {
    return await listen(socket, driver);
  } catch (thrown) {
    log.error({ socket, why: reasonOf(thrown) }, "docker's networks are not served");
    return { close: () => driver.close() };
  }
}

export interface DockerDriverSettings extends Pick<DockerDriverOptions, 'confDir' | 'plugins'> {
  readonly logLevel: LogLevel;
  readonly socket: string;
  /** The folder with network.db; a daemon may use the same folder. */
  readonly root: string;
  readonly state: string;
  readonly binDirs: readonly string[];
  /** The socket of the docker API. */
  readonly dockerSocket: string;
  /** Timeout of one call of a third-party plugin, in seconds. */
  readonly pluginTimeout: number;
}

/**
 * Starts the driver without the daemon.
 * @throws CRI_SOCKET_* when the socket cannot be opened
 */
export async function startDockerDriver(settings: DockerDriverSettings): Promise<DockerDriverService> {
  const { socket, root, state, binDirs, pluginTimeout, confDir, logLevel, plugins, dockerSocket } = settings;
  const log = createLogger({ level: logLevel });
  await makeFolder(state);
  const [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
  const databasePath = join(root, 'network.db');
  const engine = openPluginEngine({ databasePath, log });
  const driver = createDockerDriver({
    databasePath,
    stagingDir: join(state, 'cnm'),
    confDir,
    plugins,
    callPlugin: engine.callPlugin,
    programs: { startProgram: programStarter(reactor, kernel), binDirs, timeoutMs: pluginTimeout * 1000 },
    dockerSocket,
    log,
  });
  const end = async (): Promise<void> => {
    await engine.close();
    await Promise.all([reactor.close(), kernel.close()]);
  };
  try {
    const service = await listen(socket, driver);
    return { close: () => service.close().then(end) };
  } catch (thrown) {
    await driver.close();
    await end();
    throw thrown;
  }
}
