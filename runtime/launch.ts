/**
 * The room's second door, for the program that becomes the daemon: its configuration and its start, without the rest of the room. On a
 * machine with hybrid cgroups that program begins twice, and would load everything for nothing the first time.
 */
import type { DaemonConfig } from './config/types.ts';
import type { Daemon, DaemonParts } from './daemon.ts';
import type { DockerDriverService, DockerDriverSettings } from './docker-driver.ts';

export { loadDaemonConfig } from './config/load.ts';
export { formatDaemonConfig } from './config/print.ts';
export { configFlags } from './config/flags.ts';
export type { DaemonConfig } from './config/types.ts';

/**
 * Starts the daemon: see `daemon.ts`. Loaded only then, so that a command that merely asks a running daemon starts fast.
 * One that fails takes back what it made ahead of need.
 * @throws PortcullisError when the daemon cannot start
 */
export async function startDaemon(config: DaemonConfig, parts: DaemonParts = {}): Promise<Daemon> {
  // First: where it applies, this process begins anew, and would have loaded the rest for nothing.
  (await import('./oci/mount-namespace.ts')).enterMountNamespace([config.root, config.state]);
  const [{ startDaemon: start }, { orUndo }] = await Promise.all([import('./daemon.ts'), import('./undo.ts')]);
  return orUndo(config.logLevel, (undo) => start(config, parts, undo));
}

/** libnetwork's remote driver without the daemon: see `docker-driver.ts`. @throws PortcullisError when its socket cannot be opened */
export async function startDockerDriver(settings: DockerDriverSettings): Promise<DockerDriverService> {
  return (await import('./docker-driver.ts')).startDockerDriver(settings);
}
