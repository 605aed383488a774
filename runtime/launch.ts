/**
 * The second entry point of this folder, for the program that becomes the daemon: its configuration and its
 * start, without the rest of `runtime`. On a machine with hybrid cgroups that program moves into another
 * mount namespace before it starts a thread.
 */
import { isPortcullisError } from '../base/errors/index.ts';
import type { DaemonConfig } from './config/types.ts';
import type { Daemon, DaemonDeps } from './daemon.ts';
import type { Proxy, ProxySettings } from './proxy.ts';
import type { DockerDriverService, DockerDriverSettings } from './docker-driver.ts';

export { loadDaemonConfig } from './config/load.ts';
export { formatDaemonConfig } from './config/print.ts';
export { configFlags } from './config/flags.ts';
export type { DaemonConfig } from './config/types.ts';

/**
 * Starts the daemon: see `daemon.ts`, which is loaded only here, so that a command that only queries a
 * running daemon starts fast. A start that fails undoes its early work.
 * @throws PortcullisError when the daemon cannot start
 */
export async function startDaemon(config: DaemonConfig, deps: DaemonDeps = {}): Promise<Daemon> {
  // This comes first. On hosts where it applies, the process may execute itself again here, so it would be
  // useless to load the rest before. Threads that start before it stay in the old namespace.
  const { enterMountNamespace, removeNewMounts } = await import('./cgroups/mount-namespace.ts');
  enterMountNamespace([config.root, config.state]);
  // A start that fails, or that a second signal ends. `daemon.ts` withdraws this before it serves.
  process.once('exit', removeNewMounts);
  const [{ startDaemon: start }, { orUndo }] = await Promise.all([
    import('./daemon.ts'),
    import('./undo.ts'),
  ]);
  try {
    return await orUndo(config.logLevel, (undo) => start(config, deps, undo));
  } catch (thrown) {
    // Another daemon, which started in the same moment, may use the mounts of the same folders.
    if (isPortcullisError(thrown) && thrown.failure.code === 'RUNTIME_ROOT_IN_USE')
      process.removeListener('exit', removeNewMounts);
    throw thrown;
  }
}

/**
 * Starts the proxy in front of another runtime: see `proxy.ts`. A start that fails undoes its early work.
 * @throws PortcullisError when the proxy cannot start
 */
export async function startProxy(settings: ProxySettings): Promise<Proxy> {
  const [{ startProxy: start }, { orUndo }] = await Promise.all([import('./proxy.ts'), import('./undo.ts')]);
  return orUndo(settings.config.logLevel, (undo) => start(settings, undo));
}

/**
 * Starts libnetwork's remote driver without the daemon: see `docker-driver.ts`.
 * @throws PortcullisError when its socket cannot be opened
 */
export async function startDockerDriver(settings: DockerDriverSettings): Promise<DockerDriverService> {
  return (await import('./docker-driver.ts')).startDockerDriver(settings);
}
