import { underAny } from '../../base/lists/index.ts';
import { mountPointsBelow, parseMountinfo } from '../container-mounts/mountinfo.ts';
import { cleanContainerPath } from './container-path.ts';
import { withSubmounts } from './mapped-mounts.ts';
import type { OciMount, OciSpec } from './spec.types.ts';

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
 * Makes mounts of the node that appear below volumes, and below mounts of CDI devices, read-only where these
 * are in a read-only path. Pure.
 * @param spec with all of its mounts
 * @param mountinfo the table of mounts of the node; undefined: no volume or device has a mount in a read-only
 * path, or above one
 * @param recursive whether the runtime has recursive read-only mounts
 */
export function withNodeMountsReadonly(
  spec: OciSpec,
  mountinfo: string | undefined,
  recursive: boolean,
): OciSpec {
  if (mountinfo === undefined) return spec;
  const { readonlyPaths } = spec.linux;
  const mounts = recursive ? recursivelyReadonly(spec, mountinfo) : spec.mounts;
  return {
    ...spec,
    mounts,
    linux: {
      ...spec.linux,
      readonlyPaths: withMountsBelow(readonlyPaths, nodeMountsIn(readonlyPaths, mounts, mountinfo)),
    },
  };
}

/**
 * Makes mounts read-only that links lead into read-only paths, with the mounts of the node below them. Pure.
 * @param linked with the places to which the links lead
 * @param mountinfo as for {@link withNodeMountsReadonly}
 * @returns the same object if no mount is there
 */
export function withLinkedReadonly(
  spec: OciSpec,
  linked: readonly OciMount[],
  mountinfo: string | undefined,
): OciSpec {
  const { readonlyPaths } = spec.linux;
  const ofNode = nodeMountsIn(readonlyPaths, linked, mountinfo);
  const paths = withMountsBelow(readonlyPaths, [...linked, ...ofNode]);
  return paths === readonlyPaths ? spec : { ...spec, linux: { ...spec.linux, readonlyPaths: paths } };
}

/**
 * Returns the mounts. One in a read-only path gets the recursive option if the node has mounts below it: crun
 * 1.8 refuses the option for files. It stays as it is if the runtime may have to create a mount point or the
 * working folder in it.
 */
function recursivelyReadonly(
  { linux, mounts, process }: Pick<OciSpec, 'linux' | 'mounts' | 'process'>,
  mountinfo: string,
): readonly OciMount[] {
  const lines = parseMountinfo(mountinfo);
  const bringsMounts = ({ source }: OciMount): boolean => mountPointsBelow(lines, source).length > 0;
  const isBelow = underAny(linux.readonlyPaths);
  const isAbove = anyBelow([
    process.cwd,
    ...mounts.map(({ destination }) => cleanContainerPath(destination)),
  ]);
  return mounts.map((mount) => {
    const destination = cleanContainerPath(mount.destination);
    return isBind(mount) && isBelow(destination) && !isAbove(destination) && bringsMounts(mount)
      ? { ...mount, options: [...mount.options.filter((each) => !/^r(?:o|w|ro)$/u.test(each)), 'rro'] }
      : mount;
  });
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
  const affected = mounts
    .filter((mount) => isBind(mount) && !mount.options.includes('rro'))
    .map((mount) => ({ ...mount, destination: cleanContainerPath(mount.destination) }));
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
