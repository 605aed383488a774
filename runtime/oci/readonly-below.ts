import { underAny } from '../../base/lists/index.ts';
import { mountPointsBelow, parseMountinfo } from '../container-mounts/mountinfo.ts';
import { withSubmounts } from './mapped-mounts.ts';
import type { OciMount } from './spec.types.ts';

/**
 * Returns the read-only paths of a profile, and the mounts below them. A runtime makes only the mount at a
 * path read-only, and not the mounts below it: a volume there would stay writable. Pure.
 * @param paths clean, like the destinations
 * @returns each path after those above it. crun binds each path again with all that is below, and makes only
 * the last mount at each path read-only: a path after one below it would make that one writable again
 */
export function withMountsBelow(
  paths: readonly string[],
  mounts: readonly Pick<OciMount, 'destination'>[],
): readonly string[] {
  const isBelow = underAny(paths);
  const below = mounts.map(({ destination }) => destination).filter(isBelow);
  if (below.length === 0) return paths;
  return [...new Set([...paths, ...below])].sort((a, b) => depth(a) - depth(b));
}

/**
 * Makes volumes in read-only paths read-only together with the mounts of the node below them, as far as one
 * option can. Pure.
 * @param mountinfo the table of mounts of the node; undefined: no volume is there, or the runtime has no
 * recursive read-only mounts
 * @returns the mounts. One with another mount below it stays as it is: its mount point may have to be made.
 * So does one without mounts of the node: crun 1.8 refuses the option for files
 */
export function recursivelyReadonly(
  paths: readonly string[],
  mounts: readonly OciMount[],
  mountinfo: string | undefined,
): readonly OciMount[] {
  if (mountinfo === undefined) return mounts;
  const lines = parseMountinfo(mountinfo);
  const bringsMounts = ({ source }: OciMount): boolean => mountPointsBelow(lines, source).length > 0;
  const isBelow = underAny(paths);
  const isAbove = anyBelow(mounts.map(({ destination }) => destination));
  return mounts.map((mount) =>
    isBind(mount) && isBelow(mount.destination) && !isAbove(mount.destination) && bringsMounts(mount)
      ? { ...mount, options: mount.options.map((each) => (/^r[ow]$/u.test(each) ? 'rro' : each)) }
      : mount,
  );
}

/**
 * Returns the mounts of the node below volumes that are in read-only paths, or above them: they appear in the
 * container as well. Pure.
 * @param mountinfo the table of mounts of the node; undefined: no volume is there
 */
export function nodeMountsIn(
  paths: readonly string[],
  mounts: readonly OciMount[],
  mountinfo: string | undefined,
): readonly OciMount[] {
  if (mountinfo === undefined) return [];
  const affected = mounts.filter((mount) => isBind(mount) && !mount.options.includes('rro'));
  const meets = meetsAny(paths);
  return withSubmounts(
    affected.filter(({ destination }) => meets(destination)),
    mountinfo,
  );
}

/** Returns a test of whether a mount there is in one of the read-only paths, or above one. */
export function meetsAny(paths: readonly string[]): (destination: string) => boolean {
  const isBelow = underAny(paths);
  const isAbove = anyBelow(paths);
  return (destination) => isBelow(destination) || isAbove(destination);
}

const isBind = ({ options }: OciMount): boolean => options.includes('rbind');

/** Returns a test of whether one of these paths is below a path. Its time is logarithmic in their number. */
function anyBelow(paths: Iterable<string>): (path: string) => boolean {
  // With a separator that sorts before every other character, the paths below a path directly follow it.
  const keyOf = (path: string): string => (path === '/' ? '' : path.replaceAll('/', '\0'));
  const keys = [...new Set([...paths].map(keyOf))].sort();
  return (path) => {
    const key = keyOf(path);
    let [low, high] = [0, keys.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((keys[middle] ?? '') <= key) low = middle + 1;
      else high = middle;
    }
    return keys[low]?.startsWith(`${key}\0`) === true;
  };
}

function depth(path: string): number {
  return path.split('/').length;
}
