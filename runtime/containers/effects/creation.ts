import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Kernel } from '../../../base/kernel/index.ts';
import type { ImageStore } from '../../images/types.ts';
import type { ExitWatch } from '../../monitor/exits.ts';
import type { MonitorFolders } from '../../monitor/conmon.ts';
import type { AdoptMonitor } from '../../monitor/monitor-scope.ts';
import { emptyCgroup, removeCgroupTree } from '../../cgroups/cgroup-removal.ts';
import { cgroupProcesses } from '../../cgroups/cgroups.ts';
import { giveCgroup } from '../../cgroups/delegation.ts';
import { setPodLimits } from '../../cgroups/pod-limits.ts';
import { denyTun } from '../../cgroups/tun-device.ts';
import { areLocal } from '../../container-mounts/local-mounts.ts';
import { checkMadeContainer, mountsOf } from '../../container-mounts/created-container.ts';
import type { ContainerPlan } from '../../container-mounts/created-container.ts';
import { settleAll } from '../../state/settle.ts';
import { admitForRun } from '../bundle/admission.ts';
import type { AdmittedImage } from '../bundle/admission.ts';
import type { AdmittedVolume } from '../bundle/image-volumes.ts';
import { writeBundle } from '../bundle/bundle.ts';
import type { BundleDeps } from '../bundle/bundle.ts';
import type { Restore, Restores } from '../bundle/restore.ts';
import type { ContainerEffects } from '../container-effects.ts';
import type { SandboxRecord } from '../../pods/record.ts';
import type { ProcessIdentity } from '../../../base/process/index.ts';
import { showsMounts } from '../../oci/runtime-handler.ts';
import type { PidNamespace } from '../pid-namespace.ts';
import { openPidNamespace } from '../pid-namespace.ts';
import type { ContainerRecord } from '../record.ts';
import { createTask, prepareTask } from './tasks.ts';
import { killMonitorOf } from './monitors.ts';
import type { ContainerMonitors } from './monitors.ts';
import { removeMonitorLog } from './monitor-pool.ts';
import { removeRestoreRemains } from './restored.ts';
import type { ContainerPlaces } from './container-locations.ts';

export interface CreationEffectDeps extends BundleDeps {
  readonly images: ImageStore;
  readonly folders: Pick<MonitorFolders, 'attach'>;
  readonly exits: Pick<ExitWatch, 'forget'>;
  readonly adoptMonitor: AdoptMonitor;
  readonly sandbox: (id: string) => SandboxRecord | undefined;
  /** Finds a container by its id or an unambiguous prefix. */
  readonly container: (idOrPrefix: string) => ContainerRecord | undefined;
  readonly places: ContainerPlaces;
  readonly monitors: ContainerMonitors;
  /** Where the images of a container are while it is restored, by its id. */
  readonly restoreFolder: (id: string) => string;
  /** Where prepared monitors keep their logs until a container has them. */
  readonly monitorLogs: string;
  readonly kernel: Pick<Kernel, 'umount'>;
  /** Absent: the configuration does not enable the restore of checkpoints. */
  readonly restores?: Restores | undefined;
}

/** The effects that make a container, from its admission to its waiting process, and those that remove it. */
export function creationEffects(
  deps: CreationEffectDeps,
): Pick<ContainerEffects, 'admit' | 'prepare' | 'create' | 'destroy'> {
  const { places, monitors, images, cgroups, exits } = deps;
  // The namespaces are open from the preparation of a container until the runtime has joined them. If a step
  // in between fails, `destroy` follows.
  const openNamespaces = new Map<string, PidNamespace>();
  const closeNamespace = (id: string): void => {
    openNamespaces.get(id)?.close();
    openNamespaces.delete(id);
  };
  const cgroupOf = (record: ContainerRecord): string => places.cgroup(record).path;
  // The checked plan of each container; the created container is compared with it again.
  const plans = new Map<string, ContainerPlan>();
  const cgroupNeeds = new Map<string, CgroupNeeds>();
  const needs = (id: string, more: CgroupNeeds): void =>
    void cgroupNeeds.set(id, { ...cgroupNeeds.get(id), ...more });

  return {
    admit: (config, sandbox) => admitForRun(images, config, sandbox, deps.restores),
    prepare: async (record, sandbox, admission, durable) => {
      const handler = places.handler(record);
      const pidNamespace = openPidNamespace({
        config: record.config,
        sandbox,
        handler,
        find: deps.container,
      });
      openNamespaces.set(record.id, pidNamespace);
      const admitted = admission.token as AdmittedImage;
      const restore = await restoreOf(deps, record, sandbox, admitted);
      const made = await writeBundle(deps, {
        restore,
        record,
        sandbox,
        admitted,
        handler,
        bundle: places.bundle(record.id),
        configName: monitors.configName(record.id),
        cgroup: places.cgroup(record),
        pidNamespace,
        planned: (plan) => void plans.set(record.id, plan),
        delegated: (owner) => needs(record.id, { owner }),
        withoutTun: () => needs(record.id, { noTun: handler.kind !== 'crun' && showsMounts(handler) }),
        accepted: () => {
          if (handler.tasks !== undefined) prepareTask(places.bundle(record.id));
          // A restore needs the labels of the prepared container.
          if (restore === undefined) monitors.startEarly(record, durable);
        },
      });
      if (admitted.volumes.length === 0) return made;
      const byPath = (valueOf: (volume: AdmittedVolume) => string): Readonly<Record<string, string>> =>
        Object.fromEntries(admitted.volumes.map((volume) => [volume.mount.containerPath, valueOf(volume)]));
      return {
        ...made,
        volumeImages: byPath(({ image }) => image.repoDigests[0] ?? image.id),
        volumeVerdicts: byPath(({ verdict }) => verdict.id),
      };
    },
    create: async (record, signal) => {
      const made = await monitors.create(record, signal);
      closeNamespace(record.id);
      deps.adoptMonitor(made.monitor.pid);
      const handler = places.handler(record);
      let task: ProcessIdentity | undefined;
      if (handler.tasks !== undefined) {
        deps.adoptMonitor(made.init.pid);
        task = await createTask(deps, record, made.init.pid, signal);
      }
      await completeCgroups(deps, record, cgroupNeeds.get(record.id));
      cgroupNeeds.delete(record.id);
      const plan = plans.get(record.id);
      plans.delete(record.id);
      if (plan !== undefined && showsMounts(handler)) {
        const pid = handler.tasks === undefined ? made.init.pid : (task?.pid ?? 0);
        const mounts = mountsOf(record.id, pid);
        // A volume may be on a file system that does not answer.
        if (areLocal(mounts)) checkMadeContainer(record.id, pid, plan, mounts);
        else await deps.paths.checkMadeContainer(record.id, pid, plan);
      }
      if (record.restoredFrom !== undefined) {
        const { id } = record;
        const place = { bundle: places.bundle(id), cgroup: places.limits(record) };
        await requireRestores(deps).verify({ id, init: made.init.pid, ...place });
        await rm(deps.restoreFolder(id), { recursive: true, force: true });
      }
      return { ...made, ...(task !== undefined && { task }) };
    },
    destroy: async (record) => {
      closeNamespace(record.id);
      plans.delete(record.id);
      cgroupNeeds.delete(record.id);
      await monitors.abandon(record);
      const handler = places.findHandler(record);
      // The stand-in process ends with the task.
      if (handler?.tasks !== undefined) await handler.delete(record.id);
      await killMonitorOf(record, places.bundle(record.id));
      if (handler?.tasks === undefined) await handler?.delete(record.id, true);
      else await handler.clear?.(record.id);
      if ((await cgroupProcesses(cgroups, cgroupOf(record))).length > 0)
        await emptyCgroup(cgroups, cgroupOf(record));
      if (record.restoredFrom !== undefined) {
        const state = handler === undefined ? undefined : join(handler.stateDir, record.id);
        await removeRestoreRemains(deps.kernel, state, places.bundle(record.id));
        await rm(deps.restoreFolder(record.id), { recursive: true, force: true });
      }
      // A repeated call must not meet what an earlier one still does.
      await settleAll([
        removeCgroupTree(cgroups, cgroupOf(record)),
        images.removeRootfs(record.id),
        rm(places.bundle(record.id), { recursive: true, force: true }),
        rm(join(deps.folders.attach, record.id.slice(0, 16)), { recursive: true, force: true }),
        removeMonitorLog(deps.monitorLogs, record.id),
        exits.forget(record.id),
      ]);
    },
  };
}

/** The needs of a container's cgroup that its OCI runtime does not meet. */
interface CgroupNeeds {
  /** The user to whom it is given, in ids of the host. */
  readonly owner?: { readonly uid: number; readonly gid: number };
  /** It may not use /dev/net/tun, which its runtime may allow. */
  readonly noTun?: boolean;
}

async function completeCgroups(
  { cgroups, places, resourceSupport, sandbox: find }: CreationEffectDeps,
  record: ContainerRecord,
  { owner, noTun = false }: CgroupNeeds = {},
): Promise<void> {
  // The cgroup of the pod did not exist before its first container.
  const sandbox = find(record.sandboxId);
  if (sandbox !== undefined) await setPodLimits(cgroups, resourceSupport, sandbox);
  if (noTun) await denyTun(cgroups, places.limits(record));
  if (owner !== undefined) await giveCgroup(cgroups, places.limits(record), owner);
}

/** Begins the restore of a container whose image holds a checkpoint. */
async function restoreOf(
  deps: CreationEffectDeps,
  record: ContainerRecord,
  sandbox: Parameters<ContainerEffects['prepare']>[1],
  { image, checkpoint, volumes }: AdmittedImage,
): Promise<Restore | undefined> {
  if (checkpoint === undefined) return undefined;
  const { places } = deps;
  return requireRestores(deps).begin({
    ...{ record, sandbox, checkpoint, base: image, index: volumes.length },
    handler: places.handler(record),
    bundle: places.bundle(record.id),
    cgroup: places.cgroup(record).path,
  });
}

function requireRestores({ restores }: Pick<CreationEffectDeps, 'restores'>): Restores {
  if (restores === undefined) throw new Error('a container is restored although no restore is enabled');
  return restores;
}
