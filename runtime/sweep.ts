import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Kernel } from '../base/kernel/index.ts';
import type { NetworkEngine } from '../cni-plugins/index.ts';
import { emptyCgroup, removeCgroupTree } from './cgroups/cgroup-removal.ts';
import { containerCgroups } from './cgroups/cgroups.ts';
import type { CgroupMounts } from './cgroups/cgroups.ts';
import { bundleIn } from './containers/effects/effects.ts';
import { removeMonitorLog } from './containers/effects/monitor-pool.ts';
import type { ContainerRecord } from './containers/record.ts';
import type { ImageStore } from './images/index.ts';
import type { ExitWatch } from './monitor/exits.ts';
import type { RuntimeHandler } from './oci/runtime-handler.ts';
import { podDirIn } from './pods/effects.ts';
import { endProcessesWithArgument } from './processes/processes.ts';
import { removePodFiles } from './pods/files.ts';
import type { NamespacePool } from './pods/namespace-pool.ts';
import type { SandboxRecord } from './pods/record.ts';
import { settleActs } from './state/settle.ts';
import type { Unsettled } from './state/settle.ts';
import { shortId, sweepFolder } from './state/sweep-folder.ts';

/** Returns the ids of the sandboxes that have a network, or are about to. */
export function attachedSandboxes(sandboxes: readonly SandboxRecord[]): string[] {
  return sandboxes.filter(({ phase }) => phase !== 'stopped').map(({ id }) => id);
}

/**
 * Removes everything that an earlier run left and no record claims: content, links, namespaces, folders,
 * containers of the OCI runtimes. An item that cannot be removed prevents neither the removal of the rest nor
 * the start of the service.
 * @returns what is left, and why
 */
export async function sweepUnclaimed(parts: {
  readonly containers: readonly ContainerRecord[];
  readonly sandboxes: readonly SandboxRecord[];
  readonly images: Pick<ImageStore, 'reconcile'>;
  readonly network: Pick<NetworkEngine, 'gc'>;
  readonly pool: Pick<NamespacePool, 'reconcile'>;
  readonly handlers: Iterable<Pick<RuntimeHandler, 'stateDir' | 'delete'>>;
  readonly cgroups: CgroupMounts;
  readonly kernel: Kernel;
  readonly state: string;
  readonly folders: Readonly<Record<'pods' | 'containers' | 'attach' | 'monitorLogs', string>>;
  readonly exits: Pick<ExitWatch, 'folder' | 'forget'>;
}): Promise<readonly Unsettled[]> {
  const { containers, sandboxes, kernel, state, folders } = parts;
  const containerIds = new Set(containers.map(({ id }) => id));
  const attached = attachedSandboxes(sandboxes);
  const withInfra = sandboxes.filter(({ infra }) => infra !== undefined).map(({ id }) => id);
  const known = new Set([...containerIds, ...withInfra]);
  const remove = removerOf(parts.cgroups);
  return settleActs([
    { on: 'images', act: () => parts.images.reconcile(containerIds) },
    { on: 'network', act: async () => void (await parts.network.gc(new Set(attached))) },
    {
      on: 'namespaces',
      act: () => parts.pool.reconcile(new Set(sandboxes.flatMap(({ namespacesDir }) => namespacesDir ?? []))),
    },
    {
      on: folders.pods,
      act: () =>
        sweepFolder(folders.pods, new Set(sandboxes.map(({ id }) => id)), (id) =>
          removePodFiles(podDirIn(state, id), kernel),
        ),
    },
    {
      on: folders.containers,
      act: () =>
        sweepFolder(folders.containers, containerIds, async (id) => {
          // A prepared monitor that no container has got, and its runtime. A client names the id only.
          await endProcessesWithArgument(id, [bundleIn(state, id)]);
          await rm(join(folders.attach, id.slice(0, 16)), { recursive: true, force: true });
          await kernel.removeTree(bundleIn(state, id));
        }),
    },
    {
      on: folders.attach,
      act: () =>
        sweepFolder(
          folders.attach,
          new Set([...known].map((id) => id.slice(0, 16))),
          (name) => rm(join(folders.attach, name), { recursive: true, force: true }),
          shortId,
        ),
    },
    {
      on: folders.monitorLogs,
      act: () =>
        sweepFolder(folders.monitorLogs, containerIds, (id) => removeMonitorLog(folders.monitorLogs, id)),
    },
    // The container of a record that a power loss destroyed.
    { on: parts.exits.folder, act: () => sweepFolder(parts.exits.folder, containerIds, parts.exits.forget) },
    ...[...new Set(parts.handlers)].map((handler) => ({
      on: handler.stateDir,
      act: () => sweepFolder(handler.stateDir, known, (id) => remove(handler, id)),
    })),
  ]);
}

/**
 * Returns what removes a container of an OCI runtime without its record. Its processes are ended by its
 * cgroup: if the state of the runtime is damaged too, runc refuses to delete the container, and crun deletes
 * only the state.
 */
function removerOf(
  mounts: CgroupMounts,
): (handler: Pick<RuntimeHandler, 'delete'>, id: string) => Promise<void> {
  let found: ReturnType<typeof containerCgroups> | undefined;
  return async (handler, id) => {
    const cgroups = (await (found ??= containerCgroups(mounts))).get(id) ?? [];
    for (const path of cgroups) await emptyCgroup(mounts, path);
    await handler.delete(id, true);
    for (const path of cgroups) await removeCgroupTree(mounts, path);
  };
}
