import { readFile, readdir, writeFile } from 'node:fs/promises';
import { parseJson } from '../../base/json/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { errnoOf, imageError, wrapImageError } from './limits/failures.ts';
import type { StoreFolders } from './folders.ts';
import type { RootfsStore } from './rootfs.ts';

/** Limits of writable layers, by project quotas of the file system that contains them. */
export interface QuotaStore {
  /** Whether this file system enforces limits. */
  readonly enforced: boolean;
  /** Limits a writable layer that is mounted and empty, in bytes. Succeeds if this is already done. */
  limit(containerId: string, bytes: number): Promise<void>;
  /** Removes the limit before the layer is discarded. Succeeds if there is none. */
  release(containerId: string): Promise<void>;
}

/**
 * Our project ids fit in 31 bits, and are well beyond those that administrators assign by hand and those that
 * kubelets use (from 1048577 on). The clock determines the first id, so that files of an earlier run that are
 * still being deleted do not count for a new container.
 */
const [firstProject, projects] = [0x4000_0000, 0x2000_0000];

/** Reads the limits that earlier runs set: `<container>/quota.json`. */
export async function openQuotaStore(
  folders: StoreFolders,
  kernel: Kernel,
  log: Logger,
): Promise<QuotaStore> {
  const enforced = await kernel.limitsProjects(folders.rootfs);
  const held = new Map<string, number>();
  for (const id of await readdir(folders.rootfs)) {
    const project = await projectOf(`${folders.rootfs}/${id}`);
    if (project !== undefined) held.set(id, project);
  }
  let next = Math.floor(Date.now() / 1000) * 32;
  const free = (): number => {
    const used = new Set(held.values());
    for (;;) {
      next += 1;
      const project = firstProject + (next % projects);
      if (!used.has(project)) return project;
    }
  };

  return {
    enforced,
    async limit(id, bytes) {
      if (held.has(id)) return;
      if (!enforced) throw notEnforced(id);
      const folder = `${folders.rootfs}/${id}`;
      const project = free();
      held.set(id, project);
      try {
        await writeFile(`${folder}/quota.json`, JSON.stringify({ project, bytes }), { mode: 0o600 });
        // A rename between folders of two projects fails (EXDEV), and overlayfs prepares files in `work/work`
        // that it moves to `upper`.
        await kernel.limitTrees([`${folder}/upper`, `${folder}/work`, `${folder}/work/work`], project, bytes);
      } catch (thrown) {
        throw wrapImageError(thrown, {
          code: 'IMAGES_ROOTFS_FAILED',
          kind: 'internal',
          attempted: 'limit writable layer of container',
          on: id,
          fix: 'see the reason; portcullis doctor checks project quotas',
        });
      }
    },
    async release(id) {
      const project = held.get(id);
      if (project === undefined) return;
      await kernel.limitTrees([], project, 0, folders.rootfs).catch((error: unknown) => {
        // The next container gets another project, so a limit that remains is harmless.
        log.warn(
          { container: id, project, error: String(error) },
          'the limit of a removed writable layer could not be removed',
        );
      });
      held.delete(id);
    },
  };
}

/** Combines containers' root file systems with their limits, which are removed together. */
export function withQuotas(rootfs: RootfsStore, quotas: QuotaStore): RootfsStore {
  return {
    ...rootfs,
    remove: async (id) => {
      await rootfs.remove(id);
      await quotas.release(id);
    },
  };
}

async function projectOf(folder: string): Promise<number | undefined> {
  try {
    const value = parseJson(await readFile(`${folder}/quota.json`, 'utf8')) as { project?: unknown };
    return typeof value.project === 'number' ? value.project : undefined;
  } catch (thrown) {
    // A file in place of the folder has no limit, and is removed with everything that no container claims.
    if (errnoOf(thrown) === 'ENOENT' || errnoOf(thrown) === 'ENOTDIR' || thrown instanceof SyntaxError)
      return undefined;
    throw thrown;
  }
}

function notEnforced(id: string): Error {
  return imageError({
    code: 'IMAGES_NO_QUOTA',
    kind: 'precondition',
    attempted: 'limit writable layer of container',
    on: id.slice(0, 13),
    why: 'the file system of the image store does not enforce project quotas',
    fix: 'mount it with `prjquota` (ext4 with the features project and quota, or XFS), or remove the limit',
  });
}
