import { join } from 'node:path';
import { PortcullisError } from '../../base/errors/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import type { NetworkEngine } from '../../cni-plugins/index.ts';
import type { CgroupMounts } from '../oci/cgroups.ts';
import { missingCgroups, removeCgroups } from '../oci/cgroups.ts';
import { digest, newId, now } from '../state/identity.ts';
import { makePodFiles, removePodFiles } from './files.ts';
import type { NamespacePool, PodNamespace } from './namespace-pool.ts';
import type { SandboxRecord } from './record.ts';
import type { SandboxEffects } from './service.ts';

/** Folder of one pod's files. */
export function podDirIn(stateDir: string, id: string): string {
  return join(stateDir, 'pods', id);
}

/** The real effects: kernel, network engine, files below `stateDir`. */
export function createSandboxEffects(parts: {
  readonly stateDir: string;
  readonly kernel: Kernel;
  readonly network: NetworkEngine;
  readonly pool: NamespacePool;
  readonly cgroups: CgroupMounts;
  readonly handlers: ReadonlyMap<string, unknown>;
  readonly sandboxes: () => readonly SandboxRecord[];
}): SandboxEffects {
  const { stateDir, kernel, network, pool, cgroups } = parts;
  return {
    namespaces: {
      claim: (plan) => {
        const { hostname, sysctls } = plan;
        if (!plan.hostNetwork && !plan.hostIpc) return pool.claim({ hostname, sysctls });
        // A pod on the host's network has the host's name as well, so no UTS namespace of its own.
        const types: PodNamespace[] = [...(plan.hostNetwork ? [] : (['net', 'uts'] as const)), ...(plan.hostIpc ? [] : (['ipc'] as const))];
        return types.length === 0 ? Promise.resolve(undefined) : pool.make(types, { hostname, sysctls });
      },
      release: (dir) => pool.release(dir),
    },
    network,
    files: {
      make: (record, plan) =>
        makePodFiles({
          podDir: podDirIn(stateDir, record.id),
          hostIpc: plan.hostIpc,
          hostNetwork: plan.hostNetwork,
          hostname: plan.hostname,
          dns: record.config.dnsConfig,
          kernel,
        }),
      remove: (id) => removePodFiles(podDirIn(stateDir, id), kernel),
    },
    cgroups: {
      owned: (path) => {
        const known = new Set(parts.sandboxes().flatMap((record) => record.ownedCgroups));
        const prefixes = path.split('/').filter((part) => part !== '');
        const missing = new Set(missingCgroups(cgroups, path));
        // `/portcullis` is ours whoever made it.
        return prefixes
          .map((_, index) => '/' + prefixes.slice(0, index + 1).join('/'))
          .filter((prefix) => missing.has(prefix) || known.has(prefix) || prefix === '/portcullis');
      },
      remove: (paths) => removeCgroups(cgroups, paths),
    },
    requireHandler: (name) => {
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
  };
}
