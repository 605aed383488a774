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

/** libnetwork's remote driver at its socket: in the daemon, or in a process of its own. */
export interface DockerDriverService {
  /** Refuses new calls and returns when those under way have their answer. What containers have stays. */
  close(): Promise<void>;
}

/** What was left half made is ended before the first call is taken. */
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

/** Of the daemon, where it is configured. A socket that can not be had is told and is no failure: pods have nothing to do with it. */
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
  /** With network.db; a daemon may use the same. */
  readonly root: string;
  readonly state: string;
  readonly binDirs: readonly string[];
  /** Of docker's API. */
  readonly dockerSocket: string;
  /** Seconds that one call of a plugin of others may take. */
  readonly pluginTimeout: number;
}

/**
 * The driver without the daemon.
 * @throws CRI_SOCKET_* when the socket can not be had
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
