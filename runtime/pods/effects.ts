import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { PortcullisError } from '../../base/errors/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import { currentBootId } from '../../base/process/index.ts';
import type { NetworkEngine } from '../../cni-plugins/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import type { CgroupDriver } from '../cgroups/cgroup-driver.ts';
import type { CgroupMounts } from '../cgroups/cgroups.ts';
import { digest, newId, now } from '../state/identity.ts';
import { makePodFiles, podFilesExist, removePodFiles, writeResolvConf } from './files.ts';
import type { InfraEffects } from './sharing.ts';
import { dnsOfNetwork } from './name-network.ts';
import type { NamespacePool } from './namespace-pool.ts';
import { podNamespaces } from './pod-namespaces.ts';
import type { PodNamespace } from './pod-namespaces.ts';
import { podCgroups } from './pod-cgroups.ts';
import type { PodSandboxConfig } from '../cri/contract/contract.types.ts';
import type { SandboxRecord } from './record.ts';
import { shmBytes } from './shm-size.ts';
import type { SandboxEffects } from './sandbox-effects.ts';
import { tracedSandboxEffects } from './traced-effects.ts';

/** Returns the folder of one pod's files. */
export function podDirIn(stateDir: string, id: string): string {
  return join(stateDir, 'pods', id);
}

/**
 * Returns the folder of the task of a pod in its shim. Its name is the id of the pod, because shims look for
 * the folder of a task beside the folder of another task.
 */
export function podTaskIn(stateDir: string, id: string): string {
  return join(stateDir, 'shims', id);
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
  readonly handlers: ReadonlyMap<string, { readonly guestKernel?: object }>;
  readonly infra: InfraEffects;
  /** Throws when the pod requests SELinux labels that this kernel cannot apply. */
  readonly requireLabels: (config: PodSandboxConfig) => void;
  /** Sizes of /dev/shm, as written in the configuration. */
  readonly shm: { readonly size: string; readonly limit: string };
  readonly sandboxes: () => readonly SandboxRecord[];
  /** Throws when the probe did not find in this handler what a pod with a user namespace needs. */
  readonly requireUserNamespaces: (runtimeHandler: string) => Promise<void>;
}): SandboxEffects {
  const { stateDir, kernel, network, pool } = parts;
  return {
    namespaces: {
      claim: async (plan, runtimeHandler) => {
        const { hostname, sysctls, userNamespace } = plan;
        if (userNamespace !== undefined) {
          await parts.requireUserNamespaces(runtimeHandler);
          // The pod's root user passes through this folder to its root file system; it can list and read
          // nothing here.
          await chmod(stateDir, 0o711);
          // With the host's network it also has the host's name.
          const types: readonly PodNamespace[] = plan.hostNetwork ? ['ipc'] : podNamespaces;
          return pool.makeMapped(userNamespace, types, { hostname, sysctls });
        }
        if (!plan.hostNetwork && !plan.hostIpc) return pool.claim({ hostname, sysctls });
        // A pod on the host's network has the host's name as well, so it needs no UTS namespace.
        const types: PodNamespace[] = [
          ...(plan.hostNetwork ? [] : (['net', 'uts'] as const)),
          ...(plan.hostIpc ? [] : (['ipc'] as const)),
        ];
        return types.length === 0 ? undefined : pool.make(types, { hostname, sysctls });
      },
      release: (dir) => pool.release(dir),
    },
    network: {
      attach: network.attach,
      detach: network.detach,
      has: (id) => network.get(id) !== undefined,
    },
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
      stand: (id) => podFilesExist(podDirIn(stateDir, id)),
    },
    askNames: async ({ id, config: { dnsConfig } }, name) => {
      const found = await network.askNames(id, name, dnsConfig?.servers ?? []);
      await writeResolvConf(podDirIn(stateDir, id), dnsOfNetwork(dnsConfig, found));
    },
    cgroups: podCgroups(parts),
    infra: parts.infra,
    hasOwnStack: (name) => parts.handlers.get(name)?.guestKernel !== undefined,
    requireHandler: (name, config) => {
      parts.requireLabels(config);
      if (parts.handlers.has(name)) return;
      throw new PortcullisError({
        code: 'RUNTIME_UNKNOWN_HANDLER',
        kind: 'invalid',
        attempted: 'run pod sandbox with runtime handler',
        on: name,
        why: 'this node has no usable handler of that name',
        fix: `use one of: ${[...parts.handlers.keys()].filter((one) => one !== '').join(', ')}; or add it under "runtimes" in the configuration; if it is there, \`portcullis doctor\` says why it cannot be used`,
      });
    },
    digest,
    newId,
    now,
    bootId: currentBootId,
    sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms).unref()),
  };
}
