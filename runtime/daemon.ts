import { join } from 'node:path';
import { createRegistryClient } from '../base/distribution/index.ts';
import { startKernelWorker } from '../base/kernel/index.ts';
import { createLogger } from '../base/log/index.ts';
import { programStarter, startReactor } from '../base/reactor/index.ts';
import type { Prover } from '../entitlements/index.ts';
import { bundleVerifications, findVerdict } from '../trust/index.ts';
import { bringInOrder } from './bring-in-order.ts';
import { claimNode } from './claim-node.ts';
import type { DaemonConfig } from './config/types.ts';
import { bundleIn } from './containers/effects/effects.ts';
import { proverIn } from './containers/confinement/confinement.ts';
import { createLogRotation } from './containers/logs/log-rotation.ts';
import type { ContainerRecord } from './containers/record.ts';
import { createCriServer } from './cri/server.ts';
import { createImageAdmin } from './image-admin.ts';
import { openImageSide } from './image-side.ts';
import { registryOptionsOf } from './images/mirrors.ts';
import { tryCgroupMoves } from './cgroups/cgroup-moves.ts';
import { favourMainThread } from './main-thread.ts';
import { openFirst } from './open-first.ts';
import { openNetworkSide } from './network-side.ts';
import type { SandboxRecord } from './pods/record.ts';
import { createEventHub } from './events/hub.ts';
import { encodeEvent } from './services/event-handlers.ts';
import { writableLayersOf } from './images/writable-layers.ts';
import { countByVerdict, networkFacts, policyFacts, recordFacts } from './observability/facts.ts';
import { createHealth } from './observability/health.ts';
import { livenessChecks } from './observability/liveness.ts';
import { openObservability } from './observability/observability.ts';
import { watchContainers } from './observability/watch-runtime.ts';
import { openServiceManager } from './service-manager/service-manager.ts';
import { createStats } from './stats/stats.ts';
import { stopDaemon } from './stop-daemon.ts';
import { openStreamingService } from './streaming/streaming-service.ts';
import { createVerboseInfo } from './services/verbose-status.ts';
import { openRecords } from './state/records.ts';
import { openDaemonVerdictLog } from './database/verdict-log.ts';
import { attachedSandboxes } from './sweep.ts';
import { createPinReload } from './pin-reload.ts';
import { openPodSide } from './pod-side.ts';
import { openPolicySide } from './policy-side.ts';
import { createCriHandlers } from './cri-handlers.ts';
import type { Undo } from './undo.ts';
import { runtimeVersion } from './version.ts';
import { collectWorkersEarly } from './worker-memory.ts';

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
  const log = createLogger({ level: config.logLevel });
  favourMainThread(log);
  collectWorkersEarly();
  const { folders, release } = await claimNode(config, log);

  const reactorLost = (why: string): void =>
    log.error({ why }, 'the thread that watches for the exits of processes failed; it is restarted');
  const [reactor, kernel] = await Promise.all([startReactor(reactorLost), startKernelWorker()]);
  const startProgram = programStarter(reactor, kernel);
  if (config.cgroupFavorDynmods) void tryCgroupMoves(kernel, config.state, log);
  const { database, handlers, policy, hostPaths, network } = await openFirst(config, {
    startProgram,
    stateDir: folders.oci,
    log,
    undo,
    onAct: (...act) => observability.runtime?.networked(...act),
  });
  const networkSide = await openNetworkSide(config, network, { startProgram, paths: hostPaths, log });
  const registryOptions = await registryOptionsOf(config.registries);
  const registries = createRegistryClient(registryOptions);
  const [sandboxRecords, containerRecords] = await Promise.all([
    openRecords<SandboxRecord>(database, 'sandbox'),
    openRecords<ContainerRecord>(database, 'container'),
  ]);
  const verdictLog = await openDaemonVerdictLog(
    database,
    config,
    [containerRecords, { list: () => images.list() }],
    log,
  );
  const checks = livenessChecks({ database, reactor, kernel, folders: [config.root, config.state] });
  const observability = await openObservability({
    config,
    log,
    facts: {
      version: runtimeVersion,
      ...recordFacts(sandboxRecords, containerRecords, () => pods.containers.unmonitored()),
      images: () => countByVerdict(images.list(), ({ unverified }) => unverified),
      imageBytes: async () => (await images.usage()).usedBytes,
      pulls: () => images.pulls(),
      namespacePool: () => pods.pool.size,
      namespacePoolTarget: config.namespacePool,
      ...networkFacts(network),
      serviceFigures: networkSide.serviceFigures,
      policy: () => policyFacts(policy),
      verifications: bundleVerifications,
      renewals: () => renewals.counts(),
      outOfPolicy: () => ({ containers: redecision.counts(), images: redecision.images() }),
      enforcement: () => enforcement.state(),
      events: () => events.counts(),
    },
    checks,
  });
  const { store, images, pins } = await openImageSide(config, {
    ...{ database, kernel, registries, registryOptions, policy, verdictLog, log },
    mappedRoots: folders.mappedRoots,
    observer: observability.runtime,
    renewals: () => renewals,
  });
  if (observability.runtime !== undefined) watchContainers(containerRecords, observability.runtime);
  const pods = await openPodSide(config, {
    ...{
      folders,
      kernel,
      reactor,
      startProgram,
      handlers,
      policy,
      hostPaths,
      network,
      images,
      prover,
      log,
      undo,
    },
    ...{ sandboxRecords, containerRecords },
  });
  const { containers, sandboxes, cgroups, execScopes, exits, pool, probe } = pods;

  const leftovers = await bringInOrder({
    execs: { scopes: execScopes, bundle: (id) => bundleIn(config.state, id) },
    handlers,
    containers,
    sandboxes,
    records: { containers: containerRecords, sandboxes: sandboxRecords },
    sweep: { images, network, pool, kernel, state: config.state, folders, exits },
    log,
  });

  const events = createEventHub({
    sandboxes: sandboxRecords,
    containers: containerRecords,
    encode: encodeEvent,
    log,
  });
  const stats = createStats({
    cgroups,
    kernel,
    writableLayers: writableLayersOf(join(config.root, 'images')),
    containers: containers.list,
    sandboxes: sandboxes.list,
    runtimeKind: (name) => handlers.get(name)?.kind,
  });
  const streaming = await openStreamingService({
    options: config.streaming,
    scopes: execScopes,
    socketFolder: folders.attach,
    log: log.child({ room: 'streaming' }),
  });
  const policySide = openPolicySide(config, {
    policy,
    store,
    database,
    containers,
    containerRecords,
    sandboxRecords,
    events,
    log,
  });
  const { redecision, enforcement, renewals } = policySide;
  const verbose = createVerboseInfo({
    outOfPolicy: redecision.of,
    isUnmonitored: (id) => containers.unmonitored().includes(id),
    findVerdict: (id) => findVerdict(database, id),
    linkState: (id) => network.linkState(id),
    policyRevision: () => policy.current()?.revision,
  });
  await observability.listen();
  const server = await createCriServer({
    socketPath: config.socket,
    peers: config.peers,
    observers: observability.calls,
    log: log.child({ room: 'cri' }),
    ...createCriHandlers({
      ...{
        config,
        pods,
        sandboxRecords,
        handlers,
        images,
        network,
        stats,
        events,
        streaming,
        verbose,
        leftovers,
        log,
      },
      policy: { ...policy, trouble: renewals.trouble },
      enforcement: enforcement.state,
      attachFolder: folders.attach,
    }),
  });
  await networkSide.listen(
    () => attachedSandboxes(sandboxRecords.list()),
    createImageAdmin(images, containerRecords.list),
  );
  const rotation = createLogRotation({
    ...config.logs,
    containers: containers.list,
    reopen: containers.reopenLog,
    log,
    paths: hostPaths,
  });
  probe.begin();
  void store.checkLayers();
  redecision.request();
  const manager = openServiceManager({
    environment: process.env,
    pid: process.pid,
    healthy: createHealth(checks),
    log,
  });
  const reloadPins = createPinReload({ pins, reloadConfig, log });
  const reload = (): void => {
    observability.reopen();
    // Also when the files have not changed.
    void policy.reload().then(enforcement.request);
    void reloadPins();
  };
  process.on('SIGHUP', reload);
  log.info(
    { socket: config.socket, pid: process.pid, handlers: [...handlers.keys()].filter((name) => name !== '') },
    'serving CRI v1',
  );
  manager.ready();
  enforcement.request();

  return {
    stop: async () => {
      manager.stopping();
      process.off('SIGHUP', reload);
      await stopDaemon({
        ...{
          policy,
          policySide,
          events,
          server,
          networkSide,
          streaming,
          observability,
          prover,
          stats,
          rotation,
          pods,
          network,
        },
        ...{
          hostPaths,
          images,
          sandboxRecords,
          verdictLog,
          registries,
          database,
          release,
          startProgram,
          reactor,
          kernel,
          log,
        },
      });
    },
  };
}
