import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createRegistryClient } from '../base/distribution/index.ts';
import { PortcullisError } from '../base/errors/index.ts';
import { boundingCapabilities, startKernelWorker } from '../base/kernel/index.ts';
import { createLogger } from '../base/log/index.ts';
import { programStarter, startReactor } from '../base/reactor/index.ts';
import { compile, defaultProfile, detectKernel } from '../entitlements/index.ts';
import type { KernelFeatures, Prover, Target } from '../entitlements/index.ts';
import type { DaemonConfig } from './config/types.ts';
import { createCdiRegistry } from './containers/cdi/registry.ts';
import { createConfinement, proverIn } from './containers/confinement/confinement.ts';
import { createCriClient } from './cri/client.ts';
import { refuseListener } from './cri/unix-listener.ts';
import { openStateDatabase } from './database/open-database.ts';
import { openDaemonVerdictLog } from './database/verdict-log.ts';
import { openHostPaths } from './host-paths/host-paths.ts';
import { registryOptionsOf } from './images/mirrors.ts';
import { createHealth } from './observability/health.ts';
import { livenessChecks } from './observability/liveness.ts';
import { openPolicySource } from './policy-source.ts';
import { countDecision } from './observability/watch-runtime.ts';
import type { CountDecision } from './observability/watch-runtime.ts';
import { lockBackend, refuseOwnSocket } from './proxy/backend-lock.ts';
import { createBackendProbe } from './proxy/backend-probe.ts';
import { containerCalls } from './proxy/container-calls.ts';
import type { ContainerCallsDeps } from './proxy/container-calls.ts';
import { imageCalls } from './proxy/image-calls.ts';
import { openProxyImages } from './proxy/images.ts';
import type { ProxyImages } from './proxy/images.ts';
import { openProxyPolicy } from './proxy-policy.ts';
import { imagesOf, openProxyRecords } from './proxy/records.ts';
import type { ProxyCreation } from './proxy/records.ts';
import { refusedCalls } from './proxy/refused-calls.ts';
import { sandboxCalls } from './proxy/sandbox-calls.ts';
import { openSeccompFiles } from './proxy/seccomp-files.ts';
import { createProxyServer } from './proxy/server.ts';
import { settleRecords } from './proxy/settle.ts';
import { openServiceManager } from './service-manager/service-manager.ts';
import { makeOwnFolder } from './state/folders.ts';
import { claimFolders } from './state/instance-lock.ts';
import type { Undo } from './undo.ts';
import { runtimeVersion } from './version.ts';

export interface ProxySettings {
  /**
   * The configuration of the daemon, of which the proxy uses the socket, the root folder, the policy or its
   * source, the registries, the peers, the retention of verdicts, the kubelet's folder, CDI, metrics and the
   * log level.
   */
  readonly config: DaemonConfig;
  /** The path of the backend's CRI socket. */
  readonly backend: string;
  /** Whether users other than root are kept from the backend's socket. */
  readonly lock: boolean;
}

export interface Proxy {
  /** Ends the service. What the backend runs keeps running. */
  stop(): Promise<void>;
}

/**
 * Serves the CRI in front of another runtime: verifies images before the backend pulls them and before it
 * creates containers from them, and keeps containers within their ceilings.
 * @param undo collects the functions that undo early work if the start fails
 * @throws PortcullisError when a required part is unavailable; a broken policy is only logged, and nothing is
 * admitted
 */
export async function startProxy({ config, backend, lock }: ProxySettings, undo: Undo): Promise<Proxy> {
  const { root, socket } = config;
  const log = createLogger({ level: config.logLevel });
  refuseOwnSocket(backend, socket);
  await refuseListener(socket);
  refuseDaemonRoot(root);
  await makeOwnFolder(root);
  const release = await claimFolders({ root, state: root });
  const server = { connections: () => 0, probes: () => 0 };
  const locked = lock ? lockBackend(backend, () => server.connections() + server.probes(), log) : undefined;
  const threads = await openThreads();
  const { reactor, kernel, startProgram } = threads;
  undo.push(async () => {
    locked?.close();
    await Promise.all([reactor.close(), kernel.close()]);
    release();
  });
  const registryOptions = await registryOptionsOf(config.registries);
  const registries = createRegistryClient(registryOptions);
  const [database, followed, paths, seccompFiles] = await Promise.all([
    openStateDatabase(root, log),
    openPolicySource(config, log),
    openHostPaths(startProgram, [root]),
    openSeccompFiles(root),
  ]);
  const { policy } = followed;
  const records = await openProxyRecords(database);
  const { containers, creations } = records;
  const ofContainers = (): readonly ProxyCreation['container'][] => [
    ...containers.list(),
    ...creations.list().map(({ container }) => container),
  ];
  const recorded = [{ list: () => ofContainers().flatMap(imagesOf) }, { list: () => admitted.list() }];
  const verdictLog = await openDaemonVerdictLog(database, config, recorded, log);
  const admitted = await openProxyImages({
    ...{ root, database, policy: policy.current, lacking: policy.lacking, verdictLog },
    ...{ registries, registryOptions, log },
  });
  verdictLog.beginRetention();
  // The connection of this comparison: the lock reports connections that are not the proxy's own.
  server.probes = () => 1;
  await settleRecords(createCriClient(backend), { images: admitted, records, log });
  const probe = createBackendProbe(backend);
  server.probes = probe.connections;
  const metrics =
    config.metrics.address === ''
      ? undefined
      : (await import('./proxy/metrics.ts')).openProxyMetrics({
          version: runtimeVersion,
          policy: () => ({
            revision: policy.current()?.revision,
            failed: policy.problem() !== undefined,
            loads: policy.loads(),
          }),
          images: () => admitted.list().length,
          containers: () => containers.list().length,
          backendConnections: () => server.connections(),
          backendAnswers: probe.answers,
        });
  const source = openProxyPolicy(followed, { images: admitted, records, database, registryOptions, log });
  undo.push(() => source.close());
  const images = source.decidedBy(
    metrics === undefined ? admitted : countingImages(admitted, metrics.decided),
  );
  const prover = proverIn(root);
  const deps: ContainerCallsDeps = {
    ...{ records, images, paths, seccompFiles, log, kubeletRoot: config.kubeletRoot },
    ...confinementFor(policy.profiles, prover, paths),
    cdi: createCdiRegistry(config.cdi.specDirs, paths),
    heldCapabilities: boundingCapabilities(),
  };
  const healthy = createHealth(livenessChecks({ database, reactor, kernel, folders: [root] }));
  // Before the socket for the kubelet: if the address is taken, nothing is served.
  const listener =
    metrics === undefined
      ? undefined
      : await (
          await import('./observability/http.ts')
        ).listenHttp(config.metrics.address, { metrics, health: healthy });
  undo.push(async () => listener?.close());
  const forImages = imageCalls(images, log);
  const serving = await createProxyServer({
    ...{ socket, backend, peers: config.peers, log, observe: metrics?.begins },
    interceptors: {
      calls: {
        ...forImages.calls,
        ...sandboxCalls(records, log),
        ...containerCalls(deps),
        ...refusedCalls,
      },
      streams: forImages.streams,
    },
  });
  server.connections = serving.backendConnections;
  const manager = openServiceManager({ environment: process.env, pid: process.pid, healthy, log });
  process.on('SIGHUP', source.reload);
  log.info({ socket, backend, pid: process.pid }, 'serving CRI v1 in front of the backend');
  manager.ready();
  return {
    async stop() {
      manager.stopping();
      process.off('SIGHUP', source.reload);
      await Promise.all([serving.close(), source.close(), listener?.close()]);
      locked?.close();
      await Promise.all([prover.close(), images.close(), paths.close()]);
      await verdictLog.close();
      await Promise.all([registries.close(), database.close()]);
      release();
      await Promise.all([reactor.close(), kernel.close()]);
      log.info({}, 'stopped');
    },
  };
}

/** Counts each decision of the images. */
const countingImages = (images: ProxyImages, decided: CountDecision): ProxyImages => ({
  ...images,
  verify: (request) => countDecision(decided, 'pull', () => images.verify(request)),
  decideForRun: (input) => countDecision(decided, 'run', () => images.decideForRun(input)),
});

/** A daemon keeps other records in the same tables. */
function refuseDaemonRoot(root: string): void {
  if (!existsSync(join(root, 'images'))) return;
  throw new PortcullisError({
    code: 'PROXY_ROOT_OF_DAEMON',
    kind: 'precondition',
    attempted: 'start the proxy on',
    on: root,
    why: 'a daemon stores its images in this folder',
    fix: 'use a separate folder for the proxy with --root',
  });
}

async function openThreads() {
  const [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
  return { reactor, kernel, startProgram: programStarter(reactor, kernel) };
}

/**
 * Returns the confinement that the fields of the CRI can express: the backend applies its own AppArmor
 * profile and SELinux labels, and has no launcher for rules of Landlock.
 */
function confinementFor(
  profiles: Parameters<typeof createConfinement>[0]['profiles'],
  prover: Prover,
  paths: Parameters<typeof createConfinement>[0]['paths'],
): Pick<ContainerCallsDeps, 'confinement' | 'defaultDevices'> {
  const kernel: KernelFeatures = { ...detectKernel(), apparmor: false, landlock: 0 };
  const architecture = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
  const target = (runtime: string): Target => ({ architecture, runtime, kernel });
  return {
    confinement: createConfinement({
      ...{ profiles, target, prover, paths },
      apparmor: { label: () => Promise.resolve(undefined) },
      selinux: {
        labels: () => ({ process: '', mount: '' }),
        relabel: () => Promise.resolve(),
      },
    }),
    defaultDevices: compile(defaultProfile(), target('other')).devices,
  };
}
