import { checked, isErrno } from '../ffi/errno.ts';
import { glibc } from '../ffi/libc.ts';
import { withOpen } from './files.ts';
import { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } from '../ffi/constants.ts';

const c = {
  ioctl: glibc('ioctl', 'int', ['int', 'ulong', 'void *']),
  syscall: glibc('syscall', 'int64', ['long', 'int', 'uint', 'uint', 'void *']),
};

// linux/fs.h: struct fsxattr is xflags, extsize, nextents, projid, cowextsize (u32 each) and 8 bytes of
// padding.
const FS_IOC_FSGETXATTR = 0x801c581f;
const FS_IOC_FSSETXATTR = 0x401c5820;
const FS_XFLAG_PROJINHERIT = 0x200;
const FSXATTR_SIZE = 28;

// linux/quota.h, linux/dqblk_xfs.h: a command is its number shifted by 8, and the type.
const SYS_quotactl_fd = 443; // the same number on every architecture; since kernel 5.14
const PRJQUOTA = 2;
const Q_SETQUOTA = ((0x800008 << 8) | PRJQUOTA) >>> 0;
const Q_XGETQSTAT = ((0x5805 << 8) | PRJQUOTA) >>> 0;
const FS_QUOTA_PDQ_ENFD = 1 << 5;
const FS_QUOTA_STAT_SIZE = 80;
const IF_DQBLK_SIZE = 72;
const QIF_LIMITS = 1 | 4;
/** Limits are counted in blocks of this size (QIF_DQBLKSIZE). */
const BLOCK = 1024;

/**
 * Returns whether the file system that contains `path` counts and limits by project: ext4 and XFS, mounted
 * with `prjquota`.
 */
export function limitsProjects(path: string): boolean {
  return withOpen(path, O_RDONLY | O_DIRECTORY, (fd) => {
    const state = Buffer.alloc(FS_QUOTA_STAT_SIZE);
    try {
      checked(c.syscall(SYS_quotactl_fd, fd, Q_XGETQSTAT, 0, state), 'quotactl_fd', path);
    } catch (error) {
      if (isErrno(error, 'ENOSYS', 'EINVAL', 'ESRCH', 'ENODEV', 'EOPNOTSUPP', 'EPERM', 'ENOTBLK'))
        return false;
      throw error;
    }
    // struct fs_quota_stat: qs_version s8 at 0, qs_flags u16 at 2.
    return (state.readUInt16LE(2) & FS_QUOTA_PDQ_ENFD) !== 0;
  });
}

/** Assigns a folder, and everything that will be created in it, to a project: ioctl_xfs_fsgetxattr(2). */
export function setProject(folder: string, project: number): void {
  withOpen(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, (fd) => {
    const attributes = Buffer.alloc(FSXATTR_SIZE);
    checked(c.ioctl(fd, FS_IOC_FSGETXATTR, attributes), 'ioctl FS_IOC_FSGETXATTR', folder);
    attributes.writeUInt32LE(attributes.readUInt32LE(0) | FS_XFLAG_PROJINHERIT, 0);
    attributes.writeUInt32LE(project, 12);
    checked(c.ioctl(fd, FS_IOC_FSSETXATTR, attributes), 'ioctl FS_IOC_FSSETXATTR', folder);
  });
}

/**
 * Returns the project to which everything belongs that is created in an open folder; undefined if the folder
 * passes on none.
 */
export function inheritedProject(folder: number): number | undefined {
  const attributes = Buffer.alloc(FSXATTR_SIZE);
  // Other file systems have no projects, and answer with ENOTTY or EOPNOTSUPP.
  if (c.ioctl(folder, FS_IOC_FSGETXATTR, attributes) === -1) return undefined;
  return (attributes.readUInt32LE(0) & FS_XFLAG_PROJINHERIT) === 0 ? undefined : attributes.readUInt32LE(12);
}

/**
 * Limits what a project may write on the file system of `path`, in bytes, rounded up to whole KiB; 0 means no
 * limit. Source: quotactl(2).
 */
export function limitProject(path: string, project: number, bytes: number): void {
  // struct if_dqblk: bhardlimit, bsoftlimit, curspace, ihardlimit, isoftlimit, curinodes, btime, itime (u64
  // each), valid (u32)
  const limits = Buffer.alloc(IF_DQBLK_SIZE);
  const blocks = BigInt(Math.ceil(bytes / BLOCK));
  limits.writeBigUInt64LE(blocks, 0);
  limits.writeBigUInt64LE(blocks, 8);
  limits.writeUInt32LE(QIF_LIMITS, 64);
  withOpen(path, O_RDONLY | O_DIRECTORY, (fd) =>
    checked(c.syscall(SYS_quotactl_fd, fd, Q_SETQUOTA, project, limits), 'quotactl_fd', path),
  );
}

/** Assigns folders to a project and limits it: {@link setProject}, {@link limitProject}. */
export function limitTrees(
  folders: readonly string[],
  project: number,
  bytes: number,
  place = folders[0],
): void {
  for (const folder of folders) setProject(folder, project);
  if (place !== undefined) limitProject(place, project, bytes);
}
