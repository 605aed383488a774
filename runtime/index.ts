export type { Daemon, DaemonDeps } from './daemon.ts';
export type { DockerDriverSettings } from './docker-driver.ts';
export { createCriServer } from './cri/server.ts';
export { openAdvisories } from './oci/advisories.ts';
export { programFolders } from './find-program.ts';
export { defaultRuntimes } from './config/schema.ts';
export { runtimeBehindShim } from './oci/shim-handler.ts';
export { readHandlerFeatures } from './oci/probe/feature-probe.ts';
export type { HandlerFeatures } from './oci/handler-features.ts';
export { standaloneSpec } from './oci/document/standalone.ts';
export { tryRuntime } from './oci/document/try-runtime.ts';
export { validateOciConfig } from './oci/document/validate.ts';
export { serialiseSpec } from './oci/spec.ts';
export { runtimeVersion } from './version.ts';
export { followContainerLog } from './cri/log-file.ts';
export type { FollowLogOptions } from './cri/log-file.ts';
export { changeableByOthers } from './policy/changeable-by-others.ts';
export { loadPolicySet } from './policy/policy-set.ts';
export { openPolicy } from './policy/policy-watch.ts';
export type { PolicyHolder } from './policy/policy-watch.ts';
export { trySubscription } from './policy-delivery/try-subscription.ts';
export { loadDaemonConfig } from './config/load.ts';
export { registryRulesOf } from './config/registry-rules.ts';
export { registryOptionsOf } from './images/mirrors.ts';
export { defaultConfigFile } from './config/schema.ts';
export { hostFoldersOf, importConfiguration, importsOf, kindOfToml } from './config/import/import.ts';
export type { Imported, ImportSource } from './config/import/import.ts';
export { formatDaemonConfig, formatFlags } from './config/print.ts';
export { configFlags } from './config/flags.ts';
export type { DaemonConfig } from './config/types.ts';
export { makeChunkIndexOf } from './images/lazy/make-chunk-index.ts';
export type { ImageRecord, PullRequest } from './images/types.ts';
export type { EnforcementState } from './enforcement/enforcement.ts';
export { runStreamedCommand } from './streaming/command-client.ts';
export { findContainer } from './cri/lookup.ts';
export { entryBytes } from './cri/log-line.ts';
export { ContainerEventType, ContainerState, createCriClient, PodSandboxState } from './client.ts';
export type { Container, ContainerEvent, CriClient, PodSandbox } from './client.ts';
export { endedInDatabase } from './renewal/recorded.ts';
export {
  enforcementEventId,
  enforcementReasons,
  policyEventsHeader,
  policyReasons,
} from './events/policy-events.ts';
export { startDaemon, startDockerDriver } from './launch.ts';
