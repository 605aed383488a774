import { lstatSync, readlinkSync } from 'node:fs';
import {
  O_PATH,
  RESOLVE_BENEATH,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  closeFd,
  openInRootIfThere,
} from '../../base/kernel/index.ts';
import { append } from '../../base/lists/index.ts';
import { isOf } from '../host-paths/host-paths.ts';
import type { HostPaths } from '../host-paths/host-paths.ts';
import { isAtOrBelow } from '../container-mounts/at-or-below.ts';

/** A mount of a container that is not running yet. */
export interface PlacedMount {
  /** The resolved mount point. */
  readonly at: string;
  /** The host's file or folder that is bound there. Absent for a file system that the runtime creates. */
  readonly source?: string;
}

/** The result of resolving a path in a container. */
export interface ResolvedPath {
  /** The path without links, `.` and `..`. Links below /proc and /sys are not followed. */
  readonly path: string;
  /** The kernel file systems on the way. A later `..` may have left them again. */
  readonly through: ReadonlySet<KernelFolder>;
  /**
   * Whether a link or a folder of a volume is on the way. Another container that has the volume may change it
   * at any moment.
   */
  readonly throughVolume: boolean;
  /** The last folder or file of the image that a link on the way leads to and that does not exist. */
  readonly dangling?: string;
}

/** The limit of the kernel: path_resolution(7). */
const mostLinks = 40;
/** Bytes of a path, including its NUL (PATH_MAX). */
const longestPath = 4096;
/**
 * The maximum number of names in all paths of one container together, with links followed. A pod has some
 * hundreds, and each may cost a disk access.
 */
const mostNames = 16_384;

/**
 * Links that a runtime creates in a new /dev (runtime-spec config-linux.md, "Default Devices" and "/dev
 * symbolic links").
 */
const devLinks: ReadonlyMap<string, string> = new Map([
  ['/dev/fd', '/proc/self/fd'],
  ['/dev/stdin', '/proc/self/fd/0'],
  ['/dev/stdout', '/proc/self/fd/1'],
  ['/dev/stderr', '/proc/self/fd/2'],
  ['/dev/core', '/proc/kcore'],
]);

/** Resolves paths in a container that is about to be created, mount by mount. */
export interface ContainerPaths {
  /**
   * Follows the links of the image and of the mounts placed so far. Names that do not exist are kept as they
   * are, because a runtime creates them. For paths through volumes the answer is only valid at this moment.
   * @throws Error with the reason: the path is too long, has too many links, the kernel fails, or a volume
   * does not answer (RUNTIME_PATH_NO_ANSWER)
   */
  resolve(path: string): Promise<ResolvedPath>;
  /** Adds a mount at a resolved path, on top of what is mounted there. */
  place(mount: PlacedMount): void;
}

/** A folder on the way of a path. */
interface Level {
  /** The mount that holds the folder. If several are stacked, the last one. */
  readonly mount: PlacedMount | undefined;
  readonly order: number;
  /** Whether the folder does not exist yet, so that it cannot contain a link. */
  readonly missing: boolean;
}

/**
 * Opens a resolver for the paths of one container.
 * @param rootfs an open O_PATH descriptor of the root file system, in which no process runs yet, and its path
 * @param hostPaths looks up paths in volumes
 */
export function openContainerPaths(
  rootfs: { readonly fd: number; readonly path: string },
  hostPaths: Pick<HostPaths, 'ownFacts' | 'linkTarget'>,
): ContainerPaths {
  const placed = new Map<string, { readonly mount: PlacedMount; readonly order: number }>();
  const known = new Map<string, LinkFound>();
  let [names, order] = [0, 0];
  const count = (more: number): void => {
    names += more;
    if (names > mostNames)
      throw new Error(`the paths of this container lead through more than ${mostNames} folders and links`);
  };

  const linkOfImage = (path: string): LinkFound => {
    const found = known.get(path) ?? linkFoundAt(rootfs.path + path);
    known.set(path, found);
    return found;
  };
  /** Returns the entry at `path`, whose parent folder is `above`. */
  const levelAt = (path: string, above: Level): Level => {
    const here = placed.get(path);
    if (here !== undefined && here.order > above.order) return { ...here, missing: false };
    return above;
  };
  const root: Level = { mount: undefined, order: -1, missing: false };
  const top = (): Level => levelAt('/', root);
  /** Reports whether the path has no link and no mount on its way. The kernel answers this in one call. */
  const isPlain = (path: string): boolean => {
    for (let end = path.length; end > 0; end = path.lastIndexOf('/', end - 1))
      if (placed.has(path.slice(0, end))) return false;
    try {
      const fd = openInRootIfThere(rootfs.fd, path.slice(1) || '.', { flags: O_PATH, resolve: plainly });
      if (fd !== undefined) closeFd(fd);
      return fd !== undefined;
    } catch {
      return false;
    }
  };
  const linkAt = async (path: string, { mount, missing }: Level): Promise<LinkFound> => {
    if (mount?.at === path) return 'other';
    if (missing) return 'missing';
    if (mount === undefined) return linkOfImage(path);
    if (mount.source === undefined) return devLink(mount, path);
    const place = mount.source + path.slice(mount.at.length);
    // A volume may lie on a file system that does not answer.
    try {
      return isOf(await hostPaths.ownFacts(place), 'link')
        ? { target: await hostPaths.linkTarget(place) }
        : 'other';
    } catch (thrown) {
      return linkFound(() => raise(thrown));
    }
  };

  return {
    place: (mount) => {
      order += 1;
      placed.set(mount.at, { mount, order });
    },
    async resolve(asked) {
      checkLength(asked);
      const ahead = partsOf(asked).reverse();
      const clean = `/${partsOf(asked).join('/')}`;
      count(ahead.length);
      if (!ahead.includes('..') && kernelFolder(clean) === undefined && isPlain(clean))
        return { path: clean, through: new Set(), throughVolume: false };
      const through = new Set<KernelFolder>();
      let throughVolume = false;
      let links = 0;
      /** For each link on the way, how many names follow its target. */
      const targets: number[] = [];
      let dangling: string | undefined;
      const done: { readonly name: string; readonly level: Level }[] = [];
      for (let name = ahead.pop(); name !== undefined; name = ahead.pop()) {
        count(1);
        if (name === '..') {
          done.pop();
          continue;
        }
        const next = `/${[...done.map((one) => one.name), name].join('/')}`;
        checkLength(next);
        const folder = kernelFolder(next);
        if (folder !== undefined) through.add(folder);
        const level = levelAt(next, done.at(-1)?.level ?? top());
        const found = folder === undefined ? await linkAt(next, level) : 'other';
        throughVolume ||= level.mount?.source !== undefined && level.mount.at !== next;
        if (typeof found === 'string') {
          done.push({ name, level: { ...level, missing: found === 'missing' } });
          while (ahead.length <= (targets.at(-1) ?? -1)) {
            targets.pop();
            if (found === 'missing' && level.mount === undefined) dangling = next;
          }
          continue;
        }
        links += 1;
        if (links > mostLinks) throw new Error(`it leads through more than ${mostLinks} links`);
        targets.push(ahead.length);
        if (found.target.startsWith('/')) done.length = 0;
        append(ahead, partsOf(found.target).reverse());
      }
      const path = `/${done.map((one) => one.name).join('/')}`;
      return { path, through, throughVolume, ...(dangling !== undefined && { dangling }) };
    },
  };
}

type KernelFolder = '/proc' | '/sys';
/** The target of a link, a missing entry, or any other entry. */
type LinkFound = { readonly target: string } | 'missing' | 'other';

const plainly = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;

/** Most names are not links, or do not exist. Neither case throws an exception. */
function linkFoundAt(place: string): LinkFound {
  return linkFound(() => {
    const facts = lstatSync(place, { throwIfNoEntry: false });
    if (facts === undefined) return 'missing';
    return facts.isSymbolicLink() ? { target: readlinkSync(place) } : 'other';
  });
}

function linkFound(read: () => LinkFound): LinkFound {
  try {
    return read();
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return 'missing';
    // EINVAL: it is not a link. EACCES: not even root may look it up, so no runtime can mount there either.
    if (code === 'EINVAL' || code === 'EACCES') return 'other';
    throw thrown;
  }
}

/** Returns the link that a file system created by the runtime contains at `path`. */
function devLink({ at }: PlacedMount, path: string): LinkFound {
  const target = at === '/dev' ? devLinks.get(path) : undefined;
  return target === undefined ? 'missing' : { target };
}

function raise(thrown: unknown): never {
  throw thrown;
}

function checkLength(path: string): void {
  if (Buffer.byteLength(path) >= longestPath) throw new Error(`it is longer than ${longestPath - 1} bytes`);
}

/**
 * Normalizes a path of a container: removes `.`, empty components and `..`, which does not lead above the
 * root (cri-api does not define them; other runtimes clean them). Works on the text only: `..` removes the
 * name before it, even if that is a link. The normalized path is both checked and passed to the runtime.
 * Pure.
 */
export function cleanContainerPath(path: string): string {
  const done: string[] = [];
  for (const part of partsOf(path))
    if (part === '..') done.pop();
    else done.push(part);
  return `/${done.join('/')}`;
}

function partsOf(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}

function kernelFolder(path: string): KernelFolder | undefined {
  return (['/proc', '/sys'] as const).find((folder) => isAtOrBelow(path, folder));
}
