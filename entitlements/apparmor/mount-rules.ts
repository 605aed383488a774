import type { MountRule } from '../profile/model.ts';
import { appArmorPattern } from './file-rules.ts';

/**
 * What may stand beside `ro`, each or not: the flags of mount(2) that say how a new mount behaves. None makes it writable, and none makes
 * the call another one (MS_BIND, MS_MOVE, MS_REMOUNT and those of propagation). busybox always sets `silent`.
 */
export const OPEN_BESIDE_READ_ONLY: readonly string[] =
  'nosuid nodev noexec sync dirsync mand noatime nodiratime relatime strictatime iversion silent'.split(' ');
/**
 * `=` demands, `in` leaves open, and a rule with both does both (parser/mount.cc: gen_flag_rules of 3.0 and 4.0; the manual says less). A
 * list that names an option and its opposite would leave it open to 3.0 only: later parsers refuse it.
 */
const READ_ONLY = `options=(ro) options in (${OPEN_BESIDE_READ_ONLY.join(',')})`;

/**
 * Rules on mounts as apparmor.d(5), "Mount Rules", has them, one line each. A rule with a type is about new mounts of that type; one for any
 * type and not read-only also about binds, moves, remounts and propagation, for which the kernel looks at no type. A bind can not be
 * read-only from its first moment (mount(2)), so read-only rules allow none. What may be mounted on may be unmounted.
 * @param mounts not empty
 */
export function appArmorMountRules(mounts: readonly MountRule[]): string[] {
  if (mounts.some(({ fstype, target, readonly }) => fstype === '*' && target === '/**' && !readonly))
    return ['mount,', 'umount,', 'pivot_root,'];
  const targets = [...new Set(mounts.map(({ target }) => target))];
  return [...mounts.map(mountLine), ...targets.map((target) => `umount ${place(target)},`), 'deny pivot_root,'];
}

function mountLine({ fstype, target, readonly }: MountRule): string {
  // Binds, moves and remounts are options, too, and none of those under READ_ONLY.
  const type = fstype === '*' ? [] : [`fstype=(${fstype})`];
  return ['mount', ...type, ...(readonly ? [READ_ONLY] : []), '->', `${place(target)},`].join(' ');
}

/** The kernel ends the names of folders by a slash, and people do not. */
function place(target: string): string {
  return target.endsWith('/') ? appArmorPattern(target) : appArmorPattern(target, '{,/}');
}
