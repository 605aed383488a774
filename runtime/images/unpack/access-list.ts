/** Version and tags of an access control list as an extended attribute (acl(5), linux/posix_acl_xattr.h). */
const version = 2;
const owningGroup = 0x04;
const mask = 0x10;
const headBytes = 4;
const entryBytes = 8;
const allRights = 7;

/**
 * Returns the rights of the owning group by an access control list: read 4, write 2, execute 1. An archive
 * states the mask of the list as the rights of the group in the mode, so that a mode without its list would
 * give the group more rights. A malformed list gives none.
 * @param value of the extended attribute system.posix_acl_access
 */
export function groupRightsOf(value: Buffer): number {
  if (value.length < headBytes || (value.length - headBytes) % entryBytes !== 0) return 0;
  if (value.readUInt32LE(0) !== version) return 0;
  let rights = 0;
  let most = allRights;
  for (let at = headBytes; at < value.length; at += entryBytes) {
    const tag = value.readUInt16LE(at);
    const stated = value.readUInt16LE(at + 2) & allRights;
    if (tag === owningGroup) rights = stated;
    if (tag === mask) most = stated;
  }
  return rights & most;
}
