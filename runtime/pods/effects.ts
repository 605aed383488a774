import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { PortcullisError } from '../../base/errors/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import { currentBootId } from '../../base/process/index.ts';
import type { NetworkEngine } from '../../cni-plugins/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import type { CgroupDriver } from '../oci/cgroup-place.ts';
import { podCgroup } from '../oci/cgroup-place.ts';
import { removeCgroups } from '../oci/cgroup-removal.ts';
import type { CgroupMounts } from '../oci/cgroups.ts';
import { cgroupProcesses, missingCgroups } from '../oci/cgroups.ts';
import { stopSlices } from '../oci/systemd-slices.ts';
import { tracedSandboxEffects } from '../observability/traced-effects.ts';
import { digest, newId, now } from '../state/identity.ts';
import { makePodFiles, podFilesStand, removePodFiles, writeResolvConf } from './files.ts';
import type { InfraEffects } from './infra/sharing.ts';
import { dnsOfNetwork } from './name-network.ts';
import type { NamespacePool, PodNamespace } from './namespace-pool.ts';
import type { PodSandboxConfig } from '../cri/contract/contract.types.ts';
import type { SandboxRecord } from './record.ts';
import { shmBytes } from './shm-size.ts';
import type { SandboxEffects } from './sandbox-effects.ts';

/** Parent cgroups of pods that name none, by driver. */
const ours = new Set(['/portcullis', '/portcullis.slice']);

/** Returns the folder of one pod's files. */
export function podDirIn(stateDir: string, id: string): string {
  return join(stateDir, 'pods', id);
}

/**
 * Creates the real effects: kernel, network engine, files below `stateDir`. Each is a part of the trace of
 * its call.
 */
export function createSandboxEffects(parts: Parameters<typeof realEffects>[0]): SandboxEffects {
  return tracedSandboxEffects(realEffects(parts));
}

function realEffects(parts: {
  readonly startProgram: StartProgram;
  readonly stateDir: string;
  readonly kernel: Kernel;
  readonly network: NetworkEngine;
  readonly pool: NamespacePool;
  readonly cgroups: CgroupMounts;
  readonly cgroupDriver: CgroupDriver;
  readonly handlers: ReadonlyMap<string, unknown>;
  readonly infra: InfraEffects;
  /** Throws when the pod requests SELinux labels that this kernel cannot apply. */
  readonly requireLabels: (config: PodSandboxConfig) => void;
  /** Sizes of /dev/shm, as written in the configuration. */
  readonly shm: { readonly size: string; readonly limit: string };
  readonly sandboxes: () => readonly SandboxRecord[];
  /** Throws when the probe did not find in this handler what a pod with a user namespace needs. */
  readonly requireUserNamespaces: (runtimeHandler: string) => Promise<void>;
}): SandboxEffects {
  const { stateDir, kernel, network, pool, cgroups } = parts;
  /** Whether another pod may be about to create a container in a cgroup. */
  const isUsed = (path: string, sandboxId: string): boolean =>
    parts
      .sandboxes()
      .some(
        ({ id, phase, cgroupParent }) =>
          id !== sandboxId && (phase === 'creating' || phase === 'ready') && `${cgroupParent}/`.startsWith(`${path}/`),
      );
  /**
   * Returns the slices that contain no process and that no other pod may be about to use: ending a slice ends
   * everything in it.
   */
  const unused = async (slices: readonly string[], sandboxId: string): Promise<string[]> => {
    const free = slices.filter((slice) => !isUsed(slice, sandboxId));
    const populated = await Promise.all(free.map(async (slice) => (await cgroupProcesses(cgroups, slice)).length > 0));
    return free.filter((_, index) => !populated[index]);
  };
  return {
    namespaces: {
      claim: async (plan, runtimeHandler) => {
        const { hostname, sysctls, userNamespace } = plan;
        if (userNamespace !== undefined) {
          await parts.requireUserNamespaces(runtimeHandler);
          // The pod's root user passes through this folder to its root file system; it can list and read
          // nothing here.
          await chmod(stateDir, 0o711);
          return pool.makeMapped(userNamespace, { hostname, sysctls });
        }
        if (!plan.hostNetwork && !plan.hostIpc) return pool.claim({ hostname, sysctls });
        // A pod on the host's network has the host's name as well, so it needs no UTS namespace.
        const types: PodNamespace[] = [...(plan.hostNetwork ? [] : (['net', 'uts'] as const)), ...(plan.hostIpc ? [] : (['ipc'] as const))];
        return types.length === 0 ? undefined : pool.make(types, { hostname, sysctls });
      },
      release: (dir) => pool.release(dir),
    },
    network,
    files: {
      make: (record, plan) =>
        makePodFiles({
          shmBytes: shmBytes(record.config.annotations, parts.shm),
          podDir: podDirIn(stateDir, record.id),
          hostIpc: plan.hostIpc,
          hostNetwork: plan.hostNetwork,
          hostname: plan.hostname,
          dns: record.config.dnsConfig,
          userNamespace: plan.userNamespace,
          kernel,
        }),
      remove: (id) => removePodFiles(podDirIn(stateDir, id), kernel),
      stand: (id) => podFilesStand(podDirIn(stateDir, id)),
    },
    askNames: async ({ id, config: { dnsConfig } }, name) => {
      const found = await network.askNames(id, name, dnsConfig?.servers ?? []);
      await writeResolvConf(podDirIn(stateDir, id), dnsOfNetwork(dnsConfig, found));
    },
    cgroups: {
      place: (asked, sandboxId) => podCgroup(parts.cgroupDriver, asked, sandboxId),
      owned: (path) => {
        const known = new Set(parts.sandboxes().flatMap((record) => record.ownedCgroups));
        const prefixes = path.split('/').filter((part) => part !== '');
        const missing = new Set(missingCgroups(cgroups, path));
        // These belong to the daemon, whoever created them.
        return prefixes
          .map((_, index) => '/' + prefixes.slice(0, index + 1).join('/'))
          .filter((prefix) => missing.has(prefix) || known.has(prefix) || ours.has(prefix));
      },
      remove: async ({ id, ownedCgroups: paths }) => {
        // Only systemd may remove a folder of systemd, which would otherwise still rely on it.
        const slices = parts.cgroupDriver === 'systemd' ? paths.filter((path) => path.endsWith('.slice')) : [];
        const ended = await unused(slices, id);
        await stopSlices(parts.startProgram, ended);
        // In the version 1 hierarchies that systemd does not use, the runtime created the folders: they would
        // look like folders of another program.
        const left = cgroups.version === 1 ? ended : [];
        // An OCI runtime creates a container's cgroup folder by folder: its parent must not be removed in
        // between.
        await removeCgroups(cgroups, [...paths.filter((path) => !slices.includes(path)), ...left], (path) => !isUsed(path, id));
      },
    },
    infra: parts.infra,
    requireHandler: (name, config) => {
      parts.requireLabels(config);
      if (parts.handlers.has(name)) return;
      throw new PortcullisError({
        code: 'RUNTIME_UNKNOWN_HANDLER',
        kind: 'invalid',
        attempted: 'run pod sandbox with runtime handler',
        on: name,
        why: 'no such handler is configured',
        fix: `use one of: ${[...parts.handlers.keys()].filter((one) => one !== '').join(', ')}; or add it under "runtimes" in the configuration`,
      });
    },
    digest,
    newId,
    now,
    bootId: currentBootId,
    sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms).unref()),
  };
}
