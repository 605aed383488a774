import { closeSync, fstatSync, readSync } from 'node:fs';
import { PortcullisError, leavesUnknown } from '../../../base/errors/index.ts';
import { O_PATH, O_RDONLY, openFile, openInRoot } from '../../../base/kernel/index.ts';
import { SupplementalGroupsPolicy } from '../../cri/contract/contract.types.ts';
import type { LinuxContainerSecurityContext } from '../../cri/contract/contract.types.ts';

export interface ContainerUser {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
  /** Home folder of the passwd entry, for HOME. */
  readonly home: string;
}

/** Limits how much an image can make the daemon read (CVE-2026-47262). */
const databaseLimit = 1024 * 1024;
const largestId = 2 ** 31 - 1;

interface PasswdEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}
interface GroupEntry {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/**
 * Returns the user of the process: run_as_user, else run_as_username, else the image's USER
 * (`name|uid[:group|gid]`), looked up in the image's own files.
 * Sources: cri-api LinuxContainerSecurityContext and SupplementalGroupsPolicy; image-spec config.md `User`.
 * @throws PortcullisError RUNTIME_BAD_USER
 */
export function resolveUser(
  rootfs: string,
  imageUser: string,
  asked: LinuxContainerSecurityContext | undefined,
): ContainerUser {
  const passwd = parsePasswd(readInRoot(rootfs, 'etc/passwd'));
  const groups = parseGroup(readInRoot(rootfs, 'etc/group'));
  return userFrom({ passwd, groups, imageUser, asked });
}

/** The decision of {@link resolveUser}. Pure. */
export function userFrom(input: {
  readonly passwd: readonly PasswdEntry[];
  readonly groups: readonly GroupEntry[];
  readonly imageUser: string;
  readonly asked: LinuxContainerSecurityContext | undefined;
}): ContainerUser {
  const { passwd, groups, asked } = input;
  const runAsUser = asked?.runAsUser?.value;
  const runAsGroup = asked?.runAsGroup?.value;
  const runAsUsername = asked?.runAsUsername ?? '';
  if (runAsGroup !== undefined && runAsUser === undefined && runAsUsername === '') {
    throw badUser(
      'run_as_group',
      'a group was given without a user',
      'give run_as_user or run_as_username with it',
    );
  }
  const [imageName = '', imageGroup = '', ...more] = input.imageUser.split(':');
  if (more.length > 0)
    throw badUser(
      input.imageUser,
      'the USER of the image has more parts than a user and a group',
      'build the image with USER user:group',
    );
  const policy = asked?.supplementalGroupsPolicy ?? SupplementalGroupsPolicy.Merge;
  if (!Object.values<number>(SupplementalGroupsPolicy).includes(policy))
    throw badUser(String(policy), 'the policy of supplemental groups is unknown', 'use Merge or Strict');
  const userText =
    runAsUser !== undefined ? String(runAsUser) : runAsUsername !== '' ? runAsUsername : imageName || '0';
  // The image's group belongs to the image's user only.
  const groupText =
    runAsGroup !== undefined
      ? String(runAsGroup)
      : runAsUser === undefined && runAsUsername === ''
        ? imageGroup
        : '';
  const entry = userEntry(userText, passwd);
  const gid = groupText === '' ? entry.gid : groupId(groupText, groups);
  const fromImage =
    policy === SupplementalGroupsPolicy.Strict || entry.name === ''
      ? []
      : groups.filter((group) => group.members.includes(entry.name)).map((group) => group.gid);
  const given = (asked?.supplementalGroups ?? []).map((value) =>
    checkedId(String(value), 'supplemental group'),
  );
  // As in other runtimes: the primary group is among the supplemental ones.
  const additionalGids = [...new Set([gid, ...fromImage, ...given])];
  return { uid: entry.uid, gid, additionalGids, home: entry.home };
}

function userEntry(text: string, passwd: readonly PasswdEntry[]): PasswdEntry {
  if (/[\u0000-\u001f\u007f]/.test(text))
    throw badUser(JSON.stringify(text), 'the name contains control characters', 'give a plain user name');
  // A number is always an id: otherwise a user of the image with the name 1000 could be root.
  if (isNumber(text)) {
    const uid = checkedId(text, 'user');
    return passwd.find((entry) => entry.uid === uid) ?? { name: '', uid, gid: 0, home: '/' };
  }
  const named = passwd.find((entry) => entry.name === text);
  if (named === undefined)
    throw badUser(text, 'the image has no such user', 'name a user of the image, or give a number');
  return named;
}

function groupId(text: string, groups: readonly GroupEntry[]): number {
  if (isNumber(text)) return checkedId(text, 'group');
  const named = groups.find((group) => group.name === text);
  if (named === undefined)
    throw badUser(text, 'the image has no such group', 'name a group of the image, or give a number');
  return named.gid;
}

/** Also for a negative number, so that it is refused as an id and not looked up as a name. */
function isNumber(text: string): boolean {
  return /^-?\d+$/.test(text);
}

/** In some kernels and runtimes, ids beyond 31 bits overflow to root (CVE-2024-40635). */
function checkedId(text: string, what: string): number {
  const id = Number(text);
  if (!/^\d+$/.test(text) || id > largestId)
    throw badUser(text, `the ${what} is not a number from 0 to ${largestId}`, 'give a number in that range');
  return id;
}

export function parsePasswd(text: string): PasswdEntry[] {
  return text.split('\n').flatMap((line) => {
    const [name, , uid, gid, , home] = line.split(':');
    return name && isId(uid) && isId(gid)
      ? [{ name, uid: Number(uid), gid: Number(gid), home: home || '/' }]
      : [];
  });
}

export function parseGroup(text: string): GroupEntry[] {
  return text.split('\n').flatMap((line) => {
    const [name, , gid, members] = line.split(':');
    return name && isId(gid)
      ? [{ name, gid: Number(gid), members: (members ?? '').split(',').filter((one) => one !== '') }]
      : [];
  });
}

function isId(text: string | undefined): boolean {
  return text !== undefined && /^\d+$/.test(text) && Number(text) <= largestId;
}

/** Reads a file of the image, never outside its root; empty when there is none. */
function readInRoot(rootfs: string, path: string): string {
  let place: number;
  try {
    // The file is examined before it is opened: opening a FIFO waits, and opening a device may have any
    // effect.
    place = openInRoot(rootfs, path, { flags: O_PATH });
  } catch (thrown) {
    // Without its groups in the image, the user may have other rights, for example more rights as group 0.
    if (leavesUnknown(thrown)) throw thrown;
    return '';
  }
  let fd: number;
  try {
    if (!fstatSync(place).isFile()) return '';
    fd = openFile(`/proc/self/fd/${place}`, O_RDONLY);
  } finally {
    closeSync(place);
  }
  try {
    const buffer = Buffer.alloc(databaseLimit + 1);
    let size = 0;
    for (;;) {
      const read = readSync(fd, buffer, size, buffer.length - size, null);
      size += read;
      if (read === 0 || size === buffer.length) break;
    }
    if (size > databaseLimit)
      throw badUser(
        path,
        `the file is larger than ${databaseLimit} bytes`,
        'build the image with a smaller file',
      );
    return buffer.toString('utf8', 0, size);
  } finally {
    closeSync(fd);
  }
}

function badUser(on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_USER',
    kind: 'invalid',
    attempted: 'find the user of a container',
    on,
    why,
    fix,
  });
}
