import type { MountRule } from '../profile/model.ts';
import { appArmorPattern } from './file-rules.ts';

/** Each option beside its opposite: neither is asked for, as apparmor_parser reads a list that names both. */
const ANY_OF = ['suid', 'dev', 'exec', 'atime', 'diratime', 'relatime', 'mand'].flatMap((name) => [name, `no${name}`]);
const READ_ONLY = `options=(ro,${[...ANY_OF, 'sync', 'async', 'silent', 'loud'].join(',')})`;

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
  return appArmorPattern(target, '{,/}');
}
