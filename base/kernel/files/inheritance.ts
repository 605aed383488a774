import { fstatSync } from 'node:fs';
import { O_DIRECTORY, O_RDONLY } from '../ffi/constants.ts';
import { isErrno } from '../ffi/errno.ts';
import { fileIdentityOf } from './file-identity.ts';
import { withOpen } from './files.ts';
import { inheritedProject } from './project-quota.ts';
import { getXattr } from './xattr.ts';

const S_ISGID = 0o2000;
/** acl(5): the access control list of the files that are created in a folder; and the label of SELinux. */
const attributes = ['system.posix_acl_default', 'security.selinux'];

/**
 * Returns the facts of a folder that decide about a new file in it: its mount, and the group, the access
 * control list, the label and the project that the file gets. If two folders have equal facts, a file that is
 * moved from one to the other has the attributes of a file that is created there, and rename(2) does not fail
 * with EXDEV.
 * @throws PortcullisError with the error of open(2)
 */
export function inheritanceOf(folder: string): string {
  return withOpen(folder, O_RDONLY | O_DIRECTORY, (fd) => {
    const { mode, gid } = fstatSync(fd);
    const values = attributes.map((name) => {
      try {
        return Buffer.from(getXattr(`/proc/self/fd/${fd}`, name, { follow: true }) ?? []).toString('hex');
      } catch (thrown) {
        if (isErrno(thrown, 'EOPNOTSUPP')) return '';
        throw thrown;
      }
    });
    const group = (mode & S_ISGID) === 0 ? '' : gid;
    return [fileIdentityOf(fd).mountId, group, inheritedProject(fd) ?? '', ...values].join(' ');
  });
}
