import type { MountRule } from '../profile/model.ts';
import { appArmorPattern } from './file-rules.ts';

/**
 * Options that may be combined with `ro`: flags of mount(2) that change how a new mount behaves. None makes
 * it writable, and none makes the call a different operation (MS_BIND, MS_MOVE, MS_REMOUNT and those of
 * propagation). busybox always sets `silent`.
 */
export const OPEN_BESIDE_READ_ONLY: readonly string[] =
  'nosuid nodev noexec sync dirsync mand noatime nodiratime relatime strictatime iversion silent'.split(' ');
/**
 * `=` requires options, `in` permits them, and a rule with both does both (parser/mount.cc: gen_flag_rules of
 * 3.0 and 4.0; the manual says less). Only parser 3.0 would treat a list that names an option and its
 * opposite as optional: later parsers refuse it.
 */
const READ_ONLY = `options=(ro) options in (${OPEN_BESIDE_READ_ONLY.join(',')})`;

/**
 * Returns mount rules in the syntax of apparmor.d(5), "Mount Rules", one line each. A rule with a type
 * applies to new mounts of that type. A rule for any type that is not read-only also applies to binds, moves,
 * remounts and propagation, for which the kernel checks no type. A bind cannot be read-only from the start
 * (mount(2)), so read-only rules allow no binds. A place that may be mounted on may also be unmounted.
 * @param mounts not empty
 */
export function appArmorMountRules(mounts: readonly MountRule[]): string[] {
  if (mounts.some(({ fstype, target, readonly }) => fstype === '*' && target === '/**' && !readonly))
    return ['mount,', 'umount,', 'pivot_root,'];
  const targets = [...new Set(mounts.map(({ target }) => target))];
  return [
    ...mounts.map(mountLine),
    ...targets.map((target) => `umount ${place(target)},`),
    'deny pivot_root,',
  ];
}

function mountLine({ fstype, target, readonly }: MountRule): string {
  // Binds, moves and remounts are options, too, and none of them is in READ_ONLY.
  const type = fstype === '*' ? [] : [`fstype=(${fstype})`];
  return ['mount', ...type, ...(readonly ? [READ_ONLY] : []), '->', `${place(target)},`].join(' ');
}

/** In the kernel, names of folders end with a slash; in documents they usually do not. */
function place(target: string): string {
  return target.endsWith('/') ? appArmorPattern(target) : appArmorPattern(target, '{,/}');
}
