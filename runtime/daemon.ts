import { createRegistryClient } from '../base/distribution/index.ts';
import type { Prover } from '../entitlements/index.ts';
import { bringInOrder } from './startup-cleanup.ts';
import type { DaemonConfig } from './config/types.ts';
import { bundleIn } from './containers/effects/effects.ts';
import { proverIn } from './containers/confinement/confinement.ts';
import { createLogRotation } from './containers/logs/log-rotation.ts';
import { openCriServices, serveCri } from './cri-side.ts';
import { daemonFacts } from './daemon-facts.ts';
import { openDaemonRecords } from './daemon-records.ts';
import type { DaemonRecords } from './daemon-records.ts';
import { openDaemonVerdictLog } from './database/verdict-log.ts';
import { createImageAdmin } from './image-admin.ts';
import { readCgroupMounts } from './cgroups/cgroups.ts';
import { createConfigReload } from './config-reload.ts';
import { openImageSide } from './image-side.ts';
import { removeNewMounts } from './cgroups/mount-namespace.ts';
import { openMonitorScope } from './monitor/monitor-scope.ts';
import type { ImageSide } from './image-side.ts';
import { registryOptionsOf } from './images/mirrors.ts';
import { openNetworkSide } from './network-side.ts';
import { createHealth } from './observability/health.ts';
import { livenessChecks } from './observability/liveness.ts';
import { openObservability } from './observability/observability.ts';
import { watchContainers } from './observability/watch-runtime.ts';
import { openNode } from './open-node.ts';
import type { OpenNode } from './open-node.ts';
import { openPodSide } from './pod-side.ts';
import type { PodSide } from './pod-side.ts';
import { openPolicySide } from './policy-side.ts';
import { imagesOf } from './redecision/container-decisions.ts';
import { holdReloads } from './reload-signal.ts';
import { startReports } from './start-reports.ts';
import { openServiceManager } from './service-manager/service-manager.ts';
import type { Unsettled } from './state/settle.ts';
import { stopDaemon } from './stop-daemon.ts';
import { attachedSandboxes } from './sweep.ts';
import type { Undo } from './undo.ts';
import { unmapLoader } from './worker-memory.ts';

export interface Daemon {
  /**
   * Stops the service; containers keep running. Removes what only the daemon needs (namespace pool, idle
   * bridge).
   */
  stop(): Promise<void>;
}

/** Parts that an embedding program may provide; the daemon closes them. */
export interface DaemonDeps {
  /** Compiles profiles and proves the result. */
  readonly prover?: Prover;
  /** Reads the configuration again; called at SIGHUP. Absent: it does not change. */
  readonly reloadConfig?: () => Promise<DaemonConfig>;
}

/**
 * Starts everything, reconciles with what an earlier run left, then listens. This is the only composition
 * root.
 * @param undo collects the functions that undo early work if the start fails
 * @throws PortcullisError when a required part is unavailable; a broken policy or network only shows in
 * Status
 */
export async function startDaemon(
  config: DaemonConfig,
  { prover = proverIn(config.root), reloadConfig }: DaemonDeps,
  undo: Undo,
): Promise<Daemon> {
  const serveReloads = holdReloads(undo);
  const node = await openNode(config, undo, (...act) => observability.runtime?.networked(...act));
  const { log, reactor, kernel, startProgram, folders, database, handlers, policy, hostPaths, network } =
    node;
  const { policyDelivery, clusterPolicy } = node;
  const networkSide = await openNetworkSide(config, network, { startProgram, paths: hostPaths, log });
  const registryOptions = await registryOptionsOf(config.registries);
  const registries = createRegistryClient(registryOptions);
  const records = await openDaemonRecords(database, log);
  const { sandboxRecords, containerRecords } = records;
  const ofContainers = { list: () => containerRecords.list().flatMap(imagesOf) };
  const recorded = [ofContainers, { list: () => images.list() }];
  const verdictLog = await openDaemonVerdictLog(database, config, recorded, log);
  const checks = livenessChecks({ database, reactor, kernel, folders: [config.root, config.state] });
  const later = () => ({ images, pods, policySide, events });
  const facts = daemonFacts(config, node, records, networkSide, later);
  const observability = await openObservability({
    ...{ config, log, facts, checks, rest: kernel.rest },
    restForPull: (isFirst) => {
      if (isFirst) kernel.rest({ isShared: true });
      prover.rest?.();
    },
  });
  const { store, images, pins } = await openImageSide(config, {
    ...{ database, kernel, registries, registryOptions, policy, verdictLog, log, paths: hostPaths },
    mappedRoots: folders.mappedRoots,
    observer: observability.runtime,
    renewals: () => policySide.renewals,
    refused: policyDelivery?.refused,
    adopt: openMonitorScope({ startProgram, mounts: readCgroupMounts(), log }),
  });
  verdictLog.beginRetention();
  if (observability.runtime !== undefined) watchContainers(containerRecords, observability.runtime);
  const observer = observability.runtime;
  const pods = await openPodSide(config, { ...node, ...records, images, verdictLog, prover, observer, undo });
  const { containers } = pods;

  // The modules are loaded and the records are read: this is where a start has the most memory.
  unmapLoader(log);
  const leftovers = await cleanUp(config, node, records, pods, images);
  // The plugins know every pod before the first request.
  await pods.nri?.open();
  const { events, stats, streaming } = await openCriServices(config, node, records, pods);
  const policySide = openPolicySide(config, {
    ...{ policy, store, database, containers, containerRecords, sandboxRecords, events, log },
    ...{ policyDelivery, clusterPolicy, registryOptions },
  });
  const { redecision, enforcement } = policySide;
  const reports = await startReports(config, { ...node, ...records, policySide, facts });
  await observability.listen(sandboxRecords.list().length > 0);
  // From here on, a pod may need the mounts, however this process ends.
  process.removeListener('exit', removeNewMounts);
  const server = await serveCri(config, {
    ...{ node, records, pods, images, policySide, observability, leftovers },
    ...{ events, stats, streaming },
  });
  await networkSide.listen(
    () => attachedSandboxes(sandboxRecords.list()),
    createImageAdmin(images, containerRecords.list),
    policySide.admin,
  );
  const rotation = createLogRotation({
    ...config.logs,
    containers: containers.list,
    reopen: containers.reopenLog,
    log,
    paths: hostPaths,
  });
  pods.probe.begin();
  void store.checkLayers();
  redecision.request();
  const healthy = createHealth(checks);
  const manager = openServiceManager({ environment: process.env, pid: process.pid, healthy, log });
  const readConfig = createConfigReload({ config, pins, reloadConfig, log });
  const reload = (): void => {
    observability.reopen();
    // Also when the files have not changed.
    void policy.reload().then(enforcement.request);
    policyDelivery?.check();
    void readConfig();
  };
  const ignoreReloads = serveReloads(reload);
  log.info(
    { socket: config.socket, pid: process.pid, handlers: [...handlers.keys()].filter((name) => name !== '') },
    'serving CRI v1',
  );
  manager.ready();
  enforcement.request();

  return {
    stop: async () => {
      manager.stopping();
      ignoreReloads();
      await stopDaemon({
        ...node,
        ...{
          reports,
          policySide,
          events,
          server,
          networkSide,
          streaming,
          observability,
          prover,
          stats,
          rotation,
        },
        ...{ pods, images, sandboxRecords, verdictLog, registries },
      });
    },
  };
}

/** Cleans up what an earlier run left. Returns what is still left. */
function cleanUp(
  config: DaemonConfig,
  { handlers, network, kernel, folders, hostPaths, log }: OpenNode,
  { containerRecords, sandboxRecords }: DaemonRecords,
  { checkpoints, containers, sandboxes, execScopes, exits, pool, cgroups }: PodSide,
  images: ImageSide['images'],
): Promise<readonly Unsettled[]> {
  return bringInOrder({
    execs: { scopes: execScopes, bundle: (id) => bundleIn(config.state, id) },
    ...{ handlers, checkpoints, containers, sandboxes, log, paths: hostPaths },
    records: { containers: containerRecords, sandboxes: sandboxRecords },
    sweep: { images, network, pool, kernel, cgroups, state: config.state, folders, exits },
  });
}
