import { join } from 'node:path';
import type { Kernel } from '../base/kernel/index.ts';
import type { Logger } from '../base/log/index.ts';
import type { Reactor, StartProgram } from '../base/reactor/index.ts';
import { appArmorProfile, defaultProfile, detectKernel } from '../entitlements/index.ts';
import type { KernelFeatures, Prover } from '../entitlements/index.ts';
import type { ClaimedNode } from './claim-node.ts';
import type { DaemonConfig } from './config/types.ts';
import { createCheckpoints, restoresIn } from './checkpoints/checkpoints.ts';
import type { CheckpointDeps, Checkpoints } from './checkpoints/checkpoints.ts';
import { createRestores } from './checkpoints/restore/restores.ts';
import { createCheckpointProbe } from './checkpoints/support.ts';
import { openAppArmor } from './containers/confinement/apparmor.ts';
import { createCdiRegistry } from './containers/cdi/registry.ts';
import { createConfinement } from './containers/confinement/confinement.ts';
import { bundleIn, createContainerEffects } from './containers/effects/effects.ts';
import type { ContainerRecord } from './containers/record.ts';
import { openSeLinux } from './containers/confinement/selinux.ts';
import { createContainerService } from './containers/container-service.ts';
import type { ContainerAdjuster } from './containers/adjusted.ts';
import type { ContainerService } from './containers/container-service.ts';
import { findProgram } from './find-program.ts';
import type { HostPaths } from './host-paths/host-paths.ts';
import type { ImageStore } from './images/index.ts';
import { writableLayersOf } from './images/writable-layers.ts';
import { openExitWatch } from './monitor/exits.ts';
import type { ExitWatch } from './monitor/exits.ts';
import type { VerdictLog } from '../trust/verdict-log/index.ts';
import type { Nri } from './nri/open-nri.ts';
import type { RuntimeObserver } from './observability/facts.ts';
import { runtimeVersion } from './version.ts';
import { openMonitorScope } from './monitor/monitor-scope.ts';
import type { DaemonNetwork } from './network.ts';
import { cgroupDriver, containerCgroup, podCgroup } from './cgroups/cgroup-driver.ts';
import type { CgroupDriver } from './cgroups/cgroup-driver.ts';
import { readCgroupMounts } from './cgroups/cgroups.ts';
import type { CgroupMounts } from './cgroups/cgroups.ts';
import { openExecScopes } from './oci/exec-scope.ts';
import type { ExecScopes } from './oci/exec-scope.ts';
import { oomScoreFloor } from './processes/oom-score.ts';
import { openFeatureProbe } from './oci/probe/feature-probe.ts';
import type { FeatureProbe } from './oci/probe/feature-probe.ts';
import { probeIds } from './oci/probe/probe.ts';
import type { RuntimeHandler } from './oci/runtime-handler.ts';
import { createSandboxEffects } from './pods/effects.ts';
import { openInfraProcesses } from './pods/infra/process.ts';
import { openNamespacePool } from './pods/namespace-pool.ts';
import type { NamespacePool } from './pods/namespace-pool.ts';
import type { SandboxRecord } from './pods/record.ts';
import { podNamespaces } from './pods/pod-namespaces.ts';
import { createSandboxService } from './pods/sandbox-service.ts';
import type { SandboxService } from './pods/sandbox-service.ts';
import type { PolicyHolder } from './policy/policy-watch.ts';
import { newId } from './state/identity.ts';
import { createKeyedQueue } from '../base/queues/index.ts';
import type { KeyedQueue } from '../base/queues/index.ts';
import type { WatchedRecords } from './state/records.ts';
import type { Undo } from './undo.ts';

/** The pods and containers of the daemon, with what watches and confines them. */
export interface PodSide {
  readonly checkpoints: Checkpoints;
  readonly containers: ContainerService;
  readonly sandboxes: SandboxService;
  readonly cgroups: CgroupMounts;
  readonly cgroupDriver: CgroupDriver;
  readonly execScopes: ExecScopes;
  readonly exits: ExitWatch & { readonly folder: string };
  readonly pool: NamespacePool;
  readonly probe: FeatureProbe;
  /** Restrictions that the kernel can enforce, as far as this daemon can use them. */
  readonly features: KernelFeatures;
  /** The path of conmon. */
  readonly conmon: string;
  /** Absent: no plugins of the node are configured. */
  readonly nri: Nri | undefined;
  /** Orders the changes of one pod or container. */
  readonly lock: KeyedQueue['run'];
  /** Stops watching; containers keep running. The namespaces of the pool are removed. */
  close(): Promise<void>;
}

export interface PodSideDeps {
  readonly folders: ClaimedNode['folders'];
  readonly kernel: Kernel;
  readonly reactor: Reactor;
  readonly startProgram: StartProgram;
  readonly handlers: ReadonlyMap<string, RuntimeHandler>;
  readonly policy: Pick<PolicyHolder, 'profiles'>;
  readonly hostPaths: HostPaths;
  readonly network: DaemonNetwork;
  readonly images: ImageStore;
  /** Keeps what plugins of the node change. */
  readonly verdictLog: Pick<VerdictLog, 'adjusted'>;
  readonly sandboxRecords: WatchedRecords<SandboxRecord>;
  readonly containerRecords: WatchedRecords<ContainerRecord>;
  /** Counts what plugins of the node do; undefined: nothing does. */
  readonly observer?: Pick<RuntimeObserver, 'nriCalled' | 'nriAdjusted'> | undefined;
  /** Compiles profiles and proves the result. */
  readonly prover: Prover;
  readonly log: Logger;
  /** Gets the function that closes the namespace pool if the start fails. */
  readonly undo: Undo;
}

/**
 * Assembles the services of pods and containers. Nothing is recovered yet: see `bringInOrder`.
 * @throws the errors of a missing conmon and of state folders that cannot be written
 */
export async function openPodSide(config: DaemonConfig, deps: PodSideDeps): Promise<PodSide> {
  const { kernel, reactor, startProgram, handlers, hostPaths, network, images, log, undo } = deps;
  const { sandboxRecords, containerRecords } = deps;
  const cgroups = readCgroupMounts();
  const execScopes = await openExecScopes(cgroups, kernel);
  const driver = cgroupDriver(config.cgroupDriver);
  const exits = await openExitWatch({
    folder: join(config.root, 'exits'),
    bundle: (id) => bundleIn(config.state, id),
    reactor,
  });
  const pool = await openNamespacePool({
    dir: join(config.state, 'ns'),
    size: config.namespacePool,
    kernel,
    startProgram,
    log,
  });
  undo.push(pool.close);
  const { run: lock } = createKeyedQueue();
  const kernelFeatures = detectKernel();
  const selinux = openSeLinux(startProgram, hostPaths);
  const apparmor = await openAppArmor({
    enabled: kernelFeatures.apparmor,
    stateDir: config.state,
    startProgram,
  });
  const features = { ...kernelFeatures, apparmor: apparmor.usable };
  const probe = await openFeatureProbe({
    startProgram,
    handlers,
    bundle: (id) => bundleIn(config.state, id),
    newId,
    userNamespace: {
      make: () => pool.makeMapped(probeIds, podNamespaces, { hostname: 'probe', sysctls: {} }),
      release: pool.discard,
    },
    layers: join(config.root, 'images/layers'),
    checkLayers: images.checkMapping,
    root: config.root,
    log,
  });

  const conmon = await findProgram('conmon');
  const nri = await nriOf(config, deps, () => ownContainers);
  if (nri !== undefined) undo.push(nri.close);
  const ownContainers = createContainerService({
    records: containerRecords,
    requireSandbox: (id) => sandboxes.require(id),
    shareProcesses: (record) => sandboxes.shareProcesses(record),
    lock,
    log,
    adjuster: nri?.adjuster ?? withoutPlugins,
    effects: containerEffectsOf(config, deps, {
      ...{ conmon, exits, cgroups, driver, execScopes, features, probe, apparmor, selinux },
    }),
  });
  const containers = nri?.containers(ownContainers) ?? ownContainers;
  const sandboxes = createSandboxService({
    records: sandboxRecords,
    lock,
    log,
    containers,
    approve: nri?.approvePod,
    stopping: nri?.stoppingPod,
    sysctls: config.sysctls,
    effects: createSandboxEffects({
      startProgram,
      stateDir: config.state,
      kernel,
      network,
      pool,
      cgroups,
      shm: config.shm,
      cgroupDriver: driver,
      handlers,
      requireLabels: (pod) => selinux.check(pod.linux?.securityContext?.selinuxOptions),
      infra: await openInfraProcesses({
        stateDir: config.state,
        startProgram,
        reactor,
        handlers,
        cgroups,
        oomScoreFloor: oomScoreFloor(),
        apparmorProfile: () => apparmor.label(undefined, appArmorProfile(defaultProfile())),
      }),
      sandboxes: sandboxRecords.list,
      requireUserNamespaces: probe.requireUserNamespaces,
    }),
  });

  return {
    checkpoints: checkpointsOf(config, deps, { cgroups, driver, lock, isStopping: containers.isStopping }),
    containers,
    sandboxes,
    nri,
    cgroups,
    cgroupDriver: driver,
    execScopes,
    exits,
    pool,
    probe,
    features,
    conmon,
    lock,
    async close() {
      await nri?.close();
      await containers.close();
      sandboxes.close();
      exits.close();
      for (const handler of handlers.values()) await handler.tasks?.close();
      await pool.close();
    },
  };
}

/** Checkpoints also undo what an earlier run left, so they exist whether or not they are enabled. */
function checkpointsOf(
  config: DaemonConfig,
  { startProgram, handlers, containerRecords, sandboxRecords, hostPaths, log }: PodSideDeps,
  { driver, ...parts }: Pick<CheckpointDeps, 'cgroups' | 'lock' | 'isStopping'> & { driver: CgroupDriver },
): Checkpoints {
  return createCheckpoints({
    ...{ config, startProgram, handlers },
    ...parts,
    paths: hostPaths,
    container: (id) => containerRecords.get(id),
    sandbox: (id) => sandboxRecords.get(id),
    cgroupOf: ({ id, sandboxId }) =>
      containerCgroup(sandboxRecords.get(sandboxId)?.cgroupParent ?? podCgroup(driver, '', sandboxId), id)
        .path,
    bundle: (id) => bundleIn(config.state, id),
    writableLayer: (id) => writableLayersOf(join(config.root, 'images')).folder(id),
    log: log.child({ component: 'checkpoints' }),
  });
}

/** Plugins of the node, if they are configured. Otherwise their code is not even loaded. */
async function nriOf(
  config: DaemonConfig,
  { containerRecords, sandboxRecords, images, verdictLog, observer, log }: PodSideDeps,
  containers: () => ContainerService,
): Promise<Nri | undefined> {
  if (!config.nri.enabled) return undefined;
  const { createNri } = await import('./nri/open-nri.ts');
  return createNri({
    config: config.nri,
    stateDir: config.state,
    version: runtimeVersion,
    containerRecords,
    sandboxRecords,
    containers,
    logged: (container, verdict, adjustments) =>
      verdictLog.adjusted({ container, verdict, changes: JSON.stringify(adjustments) }),
    imageConfig: (imageId) => images.find(imageId)?.config,
    observer: observer && { called: observer.nriCalled, adjusted: observer.nriAdjusted },
    log: log.child({ component: 'nri' }),
  });
}

/** Refuses containers whose pods require plugins: without NRI, no plugin adjusts them. */
const withoutPlugins: ContainerAdjuster = {
  adjust: async ({ config, sandbox }) => {
    // The code is loaded only for such a pod.
    const isAsked = Object.keys(sandbox.config.annotations).some((key) =>
      key.startsWith('required-plugins.noderesource.dev'),
    );
    if (!isAsked) return undefined;
    const { requireNoPlugin } = await import('./nri/without-plugins.ts');
    requireNoPlugin(sandbox, config.metadata?.name ?? '');
    return undefined;
  },
  ended: () => undefined,
};

/** Services and features that a node offers to containers. */
interface ContainerSurroundings {
  readonly conmon: string;
  readonly exits: PodSide['exits'];
  readonly cgroups: CgroupMounts;
  readonly driver: CgroupDriver;
  readonly execScopes: ExecScopes;
  readonly features: KernelFeatures;
  readonly probe: FeatureProbe;
  readonly apparmor: Awaited<ReturnType<typeof openAppArmor>>;
  readonly selinux: ReturnType<typeof openSeLinux>;
}

function containerEffectsOf(
  config: DaemonConfig,
  deps: PodSideDeps,
  surroundings: ContainerSurroundings,
): ReturnType<typeof createContainerEffects> {
  const { folders, kernel, startProgram, handlers, policy, hostPaths, network, images, prover, log } = deps;
  const { sandboxRecords, containerRecords } = deps;
  const imagesFolder = (id: string): string => join(restoresIn(config.root), id);
  const { conmon, exits, cgroups, driver, execScopes, features, probe, apparmor, selinux } = surroundings;
  return createContainerEffects({
    startProgram,
    stateDir: config.state,
    conmon,
    folders: { exits: exits.folder, attach: folders.attach },
    network,
    images,
    confinement: createConfinement({
      profiles: policy.profiles,
      target: (runtime) => ({
        architecture: process.arch === 'arm64' ? 'aarch64' : 'x86_64',
        runtime,
        kernel: features,
      }),
      prover,
      apparmor,
      selinux,
      paths: hostPaths,
    }),
    handlers,
    exits,
    cgroups,
    cgroupDriver: driver,
    features: probe.of,
    execScopes,
    adoptMonitor: openMonitorScope({ startProgram, mounts: cgroups, log }),
    sandbox: (id) => sandboxRecords.get(id),
    container: containerRecords.find,
    oomScoreFloor: oomScoreFloor(),
    kubeletRoot: config.kubeletRoot,
    cdi: createCdiRegistry(config.cdi.specDirs, hostPaths),
    paths: hostPaths,
    devicesOwnedByUser: config.devices.ownedByUser,
    writableLayerSize: config.writableLayer.size,
    kernel,
    monitorLogs: folders.monitorLogs,
    restoreFolder: imagesFolder,
    restoreSeconds: config.checkpoint.timeout,
    restores: config.checkpoint.restore
      ? createRestores({
          ...{ config: config.checkpoint, images, cgroups, imagesFolder },
          whyNot: createCheckpointProbe(startProgram),
          log: log.child({ component: 'checkpoints' }),
        })
      : undefined,
  });
}
