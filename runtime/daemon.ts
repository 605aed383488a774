import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { createRegistryClient } from '../base/distribution/index.ts';
import { reasonOf } from '../base/errors/index.ts';
import { startKernelWorker } from '../base/kernel/index.ts';
import { createLogger } from '../base/log/index.ts';
import { programStarter, startReactor } from '../base/reactor/index.ts';
import type { Prover } from '../entitlements/index.ts';
import { bundleVerifications, findVerdict, hostPlatform } from '../trust/index.ts';
import { bringInOrder } from './bring-in-order.ts';
import { claimNode } from './claim-node.ts';
import type { DaemonConfig } from './config/types.ts';
import { bundleIn } from './containers/effects.ts';
import { proverIn } from './containers/confinement.ts';
import { createLogRotation } from './containers/log-rotation.ts';
import type { ContainerRecord } from './containers/record.ts';
import { createCriServer } from './cri/server.ts';
import { createImageStore } from './images/index.ts';
import type { OpenImageStore } from './images/index.ts';
import { registryOptionsOf } from './images/mirrors.ts';
import { tryCgroupMoves } from './oci/cgroup-moves.ts';
import { removeCgroups } from './oci/cgroup-removal.ts';
import { leaveMountNamespace } from './oci/mount-namespace.ts';
import { closeExecScopes } from './oci/exec-scope.ts';
import { favourMainThread } from './main-thread.ts';
import { openFirst } from './open-first.ts';
import { openNetworkSide } from './network-side.ts';
import type { SandboxRecord } from './pods/record.ts';
import { startEnforcement } from './enforcement/open.ts';
import { createEventHub } from './events/hub.ts';
import { encodeEvent } from './services/event-handlers.ts';
import { writableLayersOf } from './images/writable-layers.ts';
import { countByVerdict, networkFacts, policyFacts, recordFacts } from './observability/facts.ts';
import { createHealth } from './observability/health.ts';
import { livenessChecks } from './observability/liveness.ts';
import { openObservability } from './observability/observability.ts';
import { tellExceptions, watchContainers, watchImages } from './observability/watch-runtime.ts';
import { openServiceManager } from './service-manager/service-manager.ts';
import { policyChange } from './redecision/policy-change.ts';
import { createRedecision } from './redecision/redecision.ts';
import { openRenewals } from './renewal/open-renewals.ts';
import { renewForRun } from './renewal/renew-for-run.ts';
import { createStats } from './stats/stats.ts';
import { openStreamingService } from './streaming/streaming-service.ts';
import { createVerboseInfo } from './services/verbose-status.ts';
import { withRoom } from './state/open-database.ts';
import { openRecords } from './state/records.ts';
import { openDaemonVerdictLog } from './state/verdict-log.ts';
import { attachedSandboxes } from './sweep.ts';
import { openPodSide } from './pod-side.ts';
import { createCriHandlers } from './services/cri-handlers.ts';
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
export interface DaemonParts {
  /** Compiles profiles and proves the result. */
  readonly prover?: Prover;
}

/**
 * Starts everything, reconciles with what an earlier run left, then listens. This is the only composition
 * root.
 * @param undo collects the functions that undo early work if the start fails
 * @throws PortcullisError when a required part is unavailable; a broken policy or network only shows in
 * Status
 */
export async function startDaemon(config: DaemonConfig, { prover = proverIn(config.root) }: DaemonParts, undo: Undo): Promise<Daemon> {
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
  const verdictLog = await openDaemonVerdictLog(database, config, [containerRecords, { list: () => images.list() }], log);
  const checks = livenessChecks({ database, reactor, kernel, folders: [config.root, config.state] });
  const observability = await openObservability({
    config,
    log,
    facts: {
      version: runtimeVersion,
      ...recordFacts(sandboxRecords, containerRecords, () => pods.containers.unmonitored()),
      images: () => countByVerdict(images.list(), ({ unverified }) => unverified),
      imageBytes: async () => (await images.usage()).usedBytes,
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
  const store: OpenImageStore = await withRoom(config.root, () =>
    createImageStore({
      root: join(config.root, 'images'),
      database,
      kernel,
      registryClient: registries,
      registryOptions,
      policy: policy.current,
      verdictLog,
      platform: hostPlatform(),
      mappedRoots: { folder: folders.mappedRoots, open: () => chmod(config.state, 0o711) },
      log: log.child({ room: 'images' }),
      now: () => new Date(),
      onFetched: (bytes) => observability.runtime?.fetched(bytes),
    }),
  );
  const renewing = renewForRun(store, () => renewals);
  const images = tellExceptions(watchImages(renewing, observability.runtime), log, observability.runtime);
  if (observability.runtime !== undefined) watchContainers(containerRecords, observability.runtime);
  const pods = await openPodSide(config, {
    ...{ folders, kernel, reactor, startProgram, handlers, policy, hostPaths, network, images, prover, log, undo },
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

  const events = createEventHub({ sandboxes: sandboxRecords, containers: containerRecords, encode: encodeEvent, log });
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
  const redecision = createRedecision({
    policy,
    images: store,
    containers: containerRecords,
    sandbox: sandboxRecords.get,
    act: config.verdicts.outOfPolicy,
    stop: containers.stop,
    onChange: (container, found) => events.tellPolicy(container, policyChange(found)),
    log: log.child({ room: 'redecision' }),
  });
  const enforcement = startEnforcement(config, { database, policy, redecision, events, store, containerRecords, sandboxRecords, log });
  const renewals = openRenewals({ policy, images: store, redecision, log });
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
      ...{ config, pods, sandboxRecords, handlers, images, network, stats, events, streaming, verbose, leftovers, log },
      policy: { ...policy, trouble: renewals.trouble },
      enforcement: enforcement.state,
      attachFolder: folders.attach,
    }),
  });
  await networkSide.listen(() => attachedSandboxes(sandboxRecords.list()));
  const rotation = createLogRotation({ ...config.logs, containers: containers.list, reopen: containers.reopenLog, log, paths: hostPaths });
  probe.begin();
  void store.checkLayers();
  redecision.request();
  const manager = openServiceManager({ environment: process.env, pid: process.pid, healthy: createHealth(checks), log });
  const reload = (): void => {
    observability.reopen();
    // Also when the files have not changed.
    void policy.reload().then(enforcement.request);
  };
  process.on('SIGHUP', reload);
  log.info({ socket: config.socket, pid: process.pid, handlers: [...handlers.keys()].filter((name) => name !== '') }, 'serving CRI v1');
  manager.ready();
  enforcement.request();

  return {
    stop: async () => {
      manager.stopping();
      process.off('SIGHUP', reload);
      policy.close();
      await Promise.all([enforcement.close(), renewals.close()]);
      await redecision.close();
      events.close();
      await server.close();
      await networkSide.endCalls();
      await streaming.close();
      await observability.close();
      await Promise.all([probe.close(), prover.close()]);
      await stats.close();
      rotation.close();
      await pods.close();
      await networkSide.close();
      await network.close({ removeAll: true });
      await hostPaths.close();
      // The mark of an orderly stop may not fit on the disk: the next start then checks more layers than
      // necessary.
      await images.close().catch((cause: unknown) => log.warn({ cause: reasonOf(cause) }, 'the image store was not closed in order'));
      const idle = sandboxRecords.list().length === 0;
      if (idle) await removeCgroups(cgroups, ['/portcullis']);
      await closeExecScopes(execScopes);
      await verdictLog.close();
      await Promise.all([registries.close(), database.close()]);
      release();
      // The namespaces and root file systems of pods that keep running are mounted below this folder.
      if (idle) await leaveMountNamespace(startProgram);
      await Promise.all([reactor.close(), kernel.close()]);
      log.info({}, 'stopped');
    },
  };
}
