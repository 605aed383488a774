import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { meansNoSuchPath } from '../../base/errors/index.ts';
import { thawCgroup } from './cgroup-removal.ts';
import type { CgroupMounts } from './cgroups.ts';

/**
 * Lets the processes of a cgroup run again, in both versions. A cgroup that is gone is a success.
 * Source: kernel, Documentation/admin-guide/cgroup-v2.rst "cgroup.freeze"; cgroup-v1/freezer-subsystem.rst.
 */
export async function resumeCgroup(mounts: CgroupMounts, path: string): Promise<void> {
  if (mounts.version === 1) return thawCgroup(mounts, path);
  await writeFile(join(mounts.roots[0] ?? '', path, 'cgroup.freeze'), '0').catch((cause: unknown) => {
    if (!meansNoSuchPath(cause)) throw cause;
  });
}
