import { lchown, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { meansGone } from '../../base/errors/index.ts';
import type { CgroupMounts } from './cgroups.ts';

/**
 * Whether the kernel keeps a container from changing the limits of its own cgroup, although the cgroup is
 * writable in the container: version 2 is mounted with `nsdelegate`. Another program can take the option away
 * by a mount without it, so this is read again for each container.
 * Source: Documentation/admin-guide/cgroup-v2.rst, "Model of Delegation".
 */
export async function delegatesToNamespaces({ version }: Pick<CgroupMounts, 'version'>): Promise<boolean> {
  return version === 2 && hasNsDelegate(await readFile('/proc/self/mountinfo', 'utf8'));
}

/** Reads the options of version 2 in a mountinfo: all of its mounts have the same. Pure. */
export function hasNsDelegate(mountinfo: string): boolean {
  return mountinfo
    .split('\n')
    .map((line) => line.split(' '))
    .some((fields) => {
      const separator = fields.indexOf('-');
      return fields[separator + 1] === 'cgroup2' && fields[separator + 3]?.split(',').includes('nsdelegate');
    });
}

/** The file that lists what belongs to a delegated cgroup (cgroup-v2.rst, "Model of Delegation"). */
const listOfFiles = '/sys/kernel/cgroup/delegate';

/**
 * Gives a cgroup to a user: its folder, and those of its files that the kernel names for this. runc does it
 * for the user of a process, and crun only for the root of a user namespace.
 */
export async function giveCgroup(
  mounts: CgroupMounts,
  path: string,
  owner: { readonly uid: number; readonly gid: number },
): Promise<void> {
  const folder = join(mounts.roots[0] ?? '/sys/fs/cgroup', path);
  const names = (await readFile(listOfFiles, 'utf8')).split('\n').filter((name) => /^[a-z_.]+$/.test(name));
  await lchown(folder, owner.uid, owner.gid);
  await Promise.all(
    names.map((name) =>
      lchown(join(folder, name), owner.uid, owner.gid).catch((cause: unknown) => {
        // The file of a controller that this cgroup does not have.
        if (!meansGone(cause)) throw cause;
      }),
    ),
  );
}
