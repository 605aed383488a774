import { mkdir, readFile, rm, stat } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { parseJson } from '../../base/json/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import { sameProcess } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import type { NetworkEngine } from '../../cni-plugins/index.ts';
import type { ImageStore } from '../images/types.ts';
import { startMonitor } from '../monitor/conmon.ts';
import type { MonitorFolders, WaitingMonitor } from '../monitor/conmon.ts';
import type { ExitWatch } from '../monitor/exits.ts';
import { tracedConfinement, tracedContainerEffects, tracedRootfs } from '../observability/traced-effects.ts';
import type { AdoptMonitor } from '../monitor/monitor-scope.ts';
import type { CgroupDriver, ContainerCgroup } from '../oci/cgroup-place.ts';
import { processesWithArgument, signalProcess } from '../monitor/processes.ts';
import { containerCgroup, podCgroup, processCgroup } from '../oci/cgroup-place.ts';
import { emptyCgroup, removeCgroupTree, thawCgroup } from '../oci/cgroup-removal.ts';
import type { CgroupMounts } from '../oci/cgroups.ts';
import { cgroupProcesses } from '../oci/cgroups.ts';
import { createOomLedger } from '../oci/oom-ledger.ts';
import { areLocal } from '../oci/local-mounts.ts';
import { checkMadeContainer, mountsOf } from '../oci/made-container.ts';
import type { ContainerPlan } from '../oci/made-container.ts';
import { execSync } from '../oci/exec.ts';
import type { ExecScopes } from '../oci/exec-scope.ts';
import { commandPlace } from '../oci/command-place.ts';
import { commandArguments } from '../oci/launched-command.ts';
import { noQuota, writeCgroupSettings } from '../oci/cgroup-settings.ts';
import { checkedResources } from '../oci/check-resources.ts';
import { boundedResources } from '../oci/profile-bounds.ts';
import { detectResourceSupport } from '../oci/resource-support.ts';
import { mergedResources, toOciUpdate, updateFailure } from '../oci/resources.ts';
import { hasNoAnswer } from '../host-paths/host-paths.ts';
import type { HostPaths } from '../host-paths/host-paths.ts';
import type { RuntimeHandler } from '../oci/runtime-handler.ts';
import type { HandlerFeatures } from '../oci/probe/features.ts';
import type { OciSpec } from '../oci/spec.types.ts';
import type { SandboxRecord } from '../pods/record.ts';
import { digest, newId, now } from '../state/identity.ts';
import { writeBundle } from './bundle.ts';
import type { CdiRegistry } from './cdi/registry.ts';
import type { Confinement } from './confinement.ts';
import { admitForRun } from './admission.ts';
import type { AdmittedImage } from './admission.ts';
import { linkPolicyFor } from './link-class.ts';
import { settleAll } from '../state/settle.ts';
import { logMode } from './log-mode.ts';
import { containerLogPath } from './log-path.ts';
import { reopenLog } from './log-reopen.ts';
import type { ContainerRecord } from './record.ts';
import type { ContainerEffects } from './container-effects.ts';
import type { PidNamespace } from './pid-namespace.ts';
import { openPidNamespace, sharesPids } from './pid-namespace.ts';
import { orNoRoom } from './no-room.ts';
import { createSlots } from './slots.ts';
import { signalNumber } from './stop-signal.ts';

export interface EffectParts {
  readonly startProgram: StartProgram;
  readonly stateDir: string;
  readonly conmon: string;
  readonly folders: MonitorFolders;
  readonly kernel: Kernel;
  readonly network: NetworkEngine;
  readonly images: ImageStore;
  readonly confinement: Confinement;
  /** By name; the empty name is the default handler. */
  readonly handlers: ReadonlyMap<string, RuntimeHandler>;
  readonly exits: ExitWatch;
  readonly cgroups: CgroupMounts;
  readonly cgroupDriver: CgroupDriver;
  readonly adoptMonitor: AdoptMonitor;
  readonly execScopes: ExecScopes;
  readonly sandbox: (id: string) => SandboxRecord | undefined;
  /** By id or unambiguous prefix. */
  readonly container: (idOrPrefix: string) => ContainerRecord | undefined;
  readonly oomScoreFloor: number;
  /** The features that the probe found in a handler, by its name. */
  readonly features: (handler: string) => Promise<HandlerFeatures>;
  readonly kubeletRoot: string;
  readonly cdi: CdiRegistry;
  readonly paths: HostPaths;
  /** Whether requested devices belong to the user of the container. */
  readonly devicesOwnedByUser: boolean;
  readonly writableLayerSize: string;
}

/** How long one runtime command may keep others from starting. */
const slotMs = 10_000;

/** Returns the folder of one container: bundle, pid files, attach socket. */
export function bundleIn(stateDir: string, id: string): string {
  return join(stateDir, 'containers', id);
}

/** Creates the real effects, each a part of the trace of its call. */
export function createContainerEffects(parts: EffectParts): ContainerEffects {
  const { images, confinement } = parts;
  return tracedContainerEffects(realEffects({ ...parts, images: tracedRootfs(images), confinement: tracedConfinement(confinement) }));
}

function realEffects(parts: EffectParts): ContainerEffects {
  const { stateDir, handlers, exits, cgroups, images, network } = parts;
  const slots = createSlots(availableParallelism(), slotMs);
  /** Containers whose start was interrupted by the end of an earlier daemon. */
  const cutOff = new Set<string>();
  const resourceSupport = detectResourceSupport(cgroups);
  const bundle = (id: string): string => bundleIn(stateDir, id);
  const handlerOf = (record: ContainerRecord): RuntimeHandler => {
    const handler = handlers.get(record.runtimeHandler);
    if (handler !== undefined) return handler;
    throw new PortcullisError({
      code: 'RUNTIME_UNKNOWN_HANDLER',
      kind: 'precondition',
      attempted: 'use runtime handler',
      on: record.runtimeHandler,
      why: 'it is no longer configured',
      fix: 'put it back under "runtimes" in the configuration',
    });
  };
  const placeOf = (record: ContainerRecord): ContainerCgroup =>
    containerCgroup(parts.sandbox(record.sandboxId)?.cgroupParent ?? podCgroup(parts.cgroupDriver, '', record.sandboxId), record.id);
  const cgroupOf = (record: ContainerRecord): string => placeOf(record).path;
  const limitsOf = (record: ContainerRecord): string => processCgroup(placeOf(record), handlers.get(record.runtimeHandler)?.kind);
  const oomLedger = createOomLedger(cgroups);
  // Open from the preparation of a container until the runtime has joined them. If a step in between fails,
  // `destroy` follows.
  const openNamespaces = new Map<string, PidNamespace>();
  const closeNamespace = (id: string): void => {
    openNamespaces.get(id)?.close();
    openNamespaces.delete(id);
  };

  // The checked plan of each container; the created container is compared with it again.
  const plans = new Map<string, ContainerPlan>();

  /** Creates the log file and its folders. @returns the uppermost folder that was created */
  const makeLog = async ({ id, logPath }: ContainerRecord): Promise<string | undefined> => {
    const file = async (): Promise<string | undefined> => {
      if (logPath === '') return undefined;
      const made = await parts.paths.makeFolder(dirname(logPath), 0o755);
      // The monitor reports this failure: it opens the same path.
      await parts.paths.makeFile(logPath, logMode).catch((thrown: unknown) => {
        if (hasNoAnswer(thrown)) throw thrown;
      });
      return made;
    };
    const [made] = await settleAll([file(), mkdir(bundle(id), { recursive: true, mode: 0o700 })]);
    return made;
  };
  /** A refused request leaves nothing behind: no empty log, no log folder. */
  const takeLogBack = async ({ logPath }: ContainerRecord, made: string | undefined): Promise<void> => {
    if (logPath !== '') await parts.paths.removeEmptyLog(logPath, made).catch(() => undefined);
  };
  /** @param made the folder that was created for the log */
  const monitorOf = async (
    record: ContainerRecord,
    made: string | undefined,
  ): Promise<{ readonly monitor: WaitingMonitor; readonly made: string | undefined }> => {
    const { config, logPath } = record;
    const monitor = await startMonitor({
      startProgram: parts.startProgram,
      conmon: parts.conmon,
      handler: handlerOf(record),
      id: record.id,
      bundle: bundle(record.id),
      folders: parts.folders,
      logPath,
      terminal: config.tty,
      stdin: config.stdin,
      stdinOnce: config.stdinOnce,
      systemdCgroup: placeOf(record).systemd,
    });
    return { monitor, made };
  };
  /**
   * Starts the monitor in parallel with the preparation. The log is created meanwhile: only the monitor must
   * not exist before the intent is durable.
   */
  const startBeside = async (record: ContainerRecord, durable: Promise<unknown>): ReturnType<typeof monitorOf> => {
    const log = makeLog(record);
    try {
      const [made] = await settleAll([log, durable]);
      return await monitorOf(record, made);
    } catch (cause) {
      await takeLogBack(record, await log.catch(() => undefined));
      throw cause;
    }
  };
  // Monitors that were started in parallel with the preparation. If the preparation fails, `destroy` follows.
  const waiting = new Map<string, ReturnType<typeof monitorOf>>();
  const abandonMonitor = async (record: ContainerRecord): Promise<void> => {
    const started = await waiting.get(record.id)?.catch(() => undefined);
    waiting.delete(record.id);
    if (started === undefined) return;
    await started.monitor.abandon();
    await takeLogBack(record, started.made);
  };

  return {
    admit: (config, sandbox) => admitForRun(images, config, sandbox),
    prepare: async (record, sandbox, admission, durable) => {
      const handler = handlerOf(record);
      const pidNamespace = openPidNamespace({ config: record.config, sandbox, handler, find: parts.container });
      openNamespaces.set(record.id, pidNamespace);
      const admitted = admission.token as AdmittedImage;
      const made = await writeBundle({
        ...parts,
        record,
        sandbox,
        admitted,
        handler,
        bundle: bundle(record.id),
        cgroup: placeOf(record),
        resourceSupport,
        pidNamespace,
        planned: (plan) => void plans.set(record.id, plan),
        accepted: () => {
          // Only if a processor would be idle; else every pod that waits for its turn would have a waiting
          // monitor.
          if (slots.count() + waiting.size >= availableParallelism()) return;
          const monitor = startBeside(record, durable);
          waiting.set(record.id, monitor);
          // The error is reported where the monitor is awaited.
          monitor.catch(() => undefined);
        },
      });
      if (admitted.volumes.length === 0) return made;
      const refs = admitted.volumes.map(({ mount, image }) => [mount.containerPath, image.repoDigests[0] ?? image.id] as const);
      return { ...made, volumeImages: Object.fromEntries(refs) };
    },
    create: async (record) => {
      const started = waiting.get(record.id);
      const made = await slots
        .run(async () => {
          const { monitor } = await (started ?? makeLog(record).then((made) => monitorOf(record, made)));
          waiting.delete(record.id);
          return monitor.create();
        })
        .catch(async (thrown: unknown) => {
          throw await orNoRoom(thrown, exits.folder);
        });
      closeNamespace(record.id);
      parts.adoptMonitor(made.monitor.pid);
      const plan = plans.get(record.id);
      plans.delete(record.id);
      // The host does not see the mounts of other runtimes (virtual machines, kernels in user space).
      if (plan !== undefined && handlerOf(record).kind !== 'other') {
        const mounts = mountsOf(record.id, made.init.pid);
        // A volume may be on a file system that does not answer.
        if (areLocal(mounts)) checkMadeContainer(record.id, made.init.pid, plan, mounts);
        else await parts.paths.checkMadeContainer(record.id, made.init.pid, plan);
      }
      return made;
    },
    raiseNetwork: async (sandbox, containers) => {
      if (sandbox.attachment === undefined) return;
      const { class: linkClass, ...rules } = linkPolicyFor(containers);
      await network.setClass(sandbox.id, linkClass, rules);
    },
    start: (record) => slots.run(() => handlerOf(record).start(record.id, cutOff.delete(record.id) ? record.init : undefined)),
    isStarted: async (record) => {
      const started = await handlerOf(record).isStarted(record.id, record.init);
      if (!started) cutOff.add(record.id);
      return started;
    },
    kill: (record, signal) => {
      signalProcess(record.init, signalNumber(signal));
      // A user may have paused the container, or the container may have paused a part of itself.
      if (signal === 'SIGKILL') void thawCgroup(cgroups, cgroupOf(record));
    },
    heeds: (record, signal) => sharesPids(record.config) || catches(record.init, signalNumber(signal)),
    killLeftovers: async (record) => {
      // With its own PID namespace, the kernel has killed these processes together with the first one.
      if (sharesPids(record.config)) await emptyCgroup(cgroups, cgroupOf(record));
    },
    destroy: async (record) => {
      closeNamespace(record.id);
      plans.delete(record.id);
      await abandonMonitor(record);
      await killMonitorOf(record);
      const handler = handlers.get(record.runtimeHandler);
      await handler?.delete(record.id);
      if ((await cgroupProcesses(cgroups, cgroupOf(record))).length > 0) await emptyCgroup(cgroups, cgroupOf(record));
      await removeCgroupTree(cgroups, cgroupOf(record));
      await Promise.all([
        images.removeRootfs(record.id),
        rm(bundle(record.id), { recursive: true, force: true }),
        rm(join(parts.folders.attach, record.id.slice(0, 16)), { force: true }),
        exits.forget(record.id),
      ]);
    },
    watch: (record, tell, monitorLost) => {
      if (record.init === undefined || record.monitor === undefined) return () => undefined;
      if (placeOf(record).systemd) void oomLedger.open(dirname(cgroupOf(record)));
      return exits.watchContainer(record.id, { init: record.init, monitor: record.monitor }, tell, monitorLost);
    },
    forgetExit: (id) => exits.forget(id),
    recordedExit: (id) => exits.recorded(id),
    // conmon records the notification of the kernel. The kernel's own count also covers the case in which
    // conmon looked too late.
    wasOutOfMemory: async (record) => {
      // Version 1 does not count kills in a child cgroup.
      const own = cgroups.version === 2 ? cgroupOf(record) : limitsOf(record);
      const counted = await oomLedger.wasKilled(dirname(cgroupOf(record)), own);
      const noted = await stat(join(bundle(record.id), 'oom')).then(
        () => true,
        () => false,
      );
      return counted || noted;
    },
    exec: async (record, command, timeoutMs, signal) => {
      const spec = parseJson(await readFile(join(bundle(record.id), 'config.json'), 'utf8')) as OciSpec;
      return execSync({
        startProgram: parts.startProgram,
        paths: parts.paths,
        scopes: parts.execScopes,
        target: { id: record.id, handler: handlerOf(record), conmon: parts.conmon, init: record.init?.pid ?? 0, dir: bundle(record.id) },
        place: commandPlace(spec),
        process: { ...spec.process, terminal: false, args: commandArguments(spec, command) },
        timeoutMs,
        ...(signal !== undefined && { signal }),
      });
    },
    update: async (record, resources) => {
      const asked = checkedResources(mergedResources(record.config.linux?.resources, resources), resourceSupport);
      const wanted = boundedResources(asked, record.held?.resources) ?? asked;
      const handler = handlerOf(record);
      // crun 1.8 writes -1 as an unsigned number, which version 1 refuses.
      const removesQuota = handler.kind !== 'crun' || cgroups.version === 2;
      await handler.update(record.id, toOciUpdate(wanted, removesQuota)).catch((thrown: unknown) => {
        throw updateFailure(thrown);
      });
      if (wanted.cpuQuota === -1 && !removesQuota) await writeCgroupSettings(cgroups, limitsOf(record), noQuota);
    },
    reopenLog: (record) => reopenLog(record, bundle(record.id), parts.paths),
    isAlive: (record) => record.init !== undefined && sameProcess(record.init),
    isMonitored: (record) => record.monitor !== undefined && sameProcess(record.monitor),
    logPath: (config, sandbox) => containerLogPath(sandbox.config.logDirectory, config.logPath),
    digest,
    newId,
    now,
    clock: {
      now: () => performance.now(),
      // A longer timer would fire at once; the waiter checks the clock again.
      sleep: (ms) => new Promise((resolve) => setTimeout(resolve, Math.min(ms, 2 ** 31 - 1)).unref()),
    },
  };
}

/**
 * Whether the process has a handler for a signal (proc_pid_status(5), SigCgt); SIGKILL and SIGSTOP need none.
 */
function catches(identity: ProcessIdentity | undefined, signal: number): boolean {
  if (signal === 9 || signal === 19) return true;
  try {
    const caught = /^SigCgt:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${identity?.pid ?? 0}/status`, 'utf8'))?.[1];
    return caught !== undefined && ((BigInt(`0x${caught}`) >> BigInt(signal - 1)) & 1n) === 1n;
  } catch {
    return false;
  }
}

/**
 * Ends the monitor of a container that is being removed, even if its start was never recorded: after a daemon
 * was killed while it started conmon, the monitor is found by the container id among its arguments. The
 * runtime's `create` dies with the monitor (conmon sets its death signal).
 */
async function killMonitorOf(record: ContainerRecord): Promise<void> {
  signalProcess(record.init, 9);
  if (record.monitor !== undefined) {
    // Its last act is the exit file, which `destroy` removes: wait until the monitor is gone.
    for (let attempt = 0; attempt < 100 && sameProcess(record.monitor); attempt += 1) {
      if (attempt === 40) signalProcess(record.monitor, 9);
      await pause(5);
    }
    return;
  }
  for (let attempt = 0; attempt < 5; attempt += 1) {
    for (const identity of processesWithArgument(record.id)) signalProcess(identity, 9);
    await pause(20);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
