import type { DaemonConfig } from './config/types.ts';
import type { Daemon, DaemonParts } from './daemon.ts';
import type { DockerDriverService, DockerDriverSettings } from './docker-driver.ts';

export type { Daemon, DaemonParts } from './daemon.ts';
export type { DockerDriverSettings } from './docker-driver.ts';
export { createCriServer } from './cri/server.ts';
export { openAdvisories } from './oci/advisories.ts';
export { readHandlerFeatures } from './oci/probe/feature-probe.ts';
export type { HandlerFeatures } from './oci/probe/features.ts';
export { standaloneSpec } from './oci/document/standalone.ts';
export { tryRuntime } from './oci/document/try-runtime.ts';
export { validateOciConfig } from './oci/document/validate.ts';
export { serialiseSpec } from './oci/spec.ts';
export { runtimeVersion } from './version.ts';
export { createCriClient } from './cri/client.ts';
export type { CriClient } from './cri/client.ts';
export { followContainerLog } from './cri/log-file.ts';
export type { FollowLogOptions } from './cri/log-file.ts';
export { loadDaemonConfig } from './config/load.ts';
export { hostFoldersOf, importConfiguration, kindOfToml } from './config/import/import.ts';
export type { Imported, ImportSource } from './config/import/import.ts';
export { formatDaemonConfig } from './config/print.ts';
export { configFlags } from './config/flags.ts';
export type { DaemonConfig } from './config/types.ts';
export type { ImageRecord, PullRequest } from './images/types.ts';
export type { EnforcementState } from './enforcement/enforcement.ts';
export { findContainer } from './cri/lookup.ts';
export { entryBytes } from './cri/log-line.ts';
export { ContainerEventType, ContainerState, PodSandboxState } from './cri/contract/contract.types.ts';
export type { Container, ContainerEventResponse as ContainerEvent, PodSandbox } from './cri/contract/contract.types.ts';

/**
 * Starts the daemon: see `daemon.ts`. Loaded only then, so that a command that merely asks a running daemon starts fast.
 * @throws PortcullisError when a part can not be had at all
 */
export async function startDaemon(config: DaemonConfig, parts?: DaemonParts): Promise<Daemon> {
  // First: where it applies, this process begins anew, and would have loaded the rest for nothing.
  (await import('./oci/mount-namespace.ts')).enterMountNamespace([config.root, config.state]);
  return (await import('./daemon.ts')).startDaemon(config, parts);
}

/** libnetwork's remote driver without the daemon: see `docker-driver.ts`. @throws PortcullisError when its socket can not be had */
export async function startDockerDriver(settings: DockerDriverSettings): Promise<DockerDriverService> {
  return (await import('./docker-driver.ts')).startDockerDriver(settings);
}
export { endedInDatabase } from './renewal/recorded.ts';
export { enforcementEventId, enforcementReasons, policyEventsHeader, policyReasons } from './events/policy-events.ts';
