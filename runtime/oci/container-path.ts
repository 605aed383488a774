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
import { isAtOrBelow } from './at-or-below.ts';

/** Something that is mounted in a container that does not run yet. */
export interface PlacedMount {
  /** Where it is, resolved. */
  readonly at: string;
  /** The host's file or folder that is bound there; absent: a file system that the runtime makes. */
  readonly source?: string;
}

/** Where a path leads in a container. */
export interface ResolvedPath {
  /** Without links, `.` and `..`. What lies below /proc and /sys is not followed. */
  readonly path: string;
  /** The kernel file systems that it led through; it may have left them again by `..`. */
  readonly through: ReadonlySet<KernelFolder>;
  /** Whether a link or a folder of a volume is on the way: another container that has the volume may change it at any moment. */
  readonly throughVolume: boolean;
}

/** As the kernel: path_resolution(7). */
const mostLinks = 40;
/** Bytes of a path, with its NUL (PATH_MAX). */
const longestPath = 4096;
/** Names that all paths of one container may have together, links followed: a pod has some hundreds, and each may cost a look at the disk. */
const mostNames = 16_384;

/** Links that a runtime makes in a new /dev (runtime-spec config-linux.md, "Default Devices" and "/dev symbolic links"). */
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
   * Follows the links of the image and of what has been placed so far; names that do not exist stand for themselves, since a runtime makes
   * them. Of volumes the answer holds for this moment alone.
   * @throws Error with the reason: too long, too many links, failures of the kernel, and that a volume does not answer (RUNTIME_PATH_NO_ANSWER)
   */
  resolve(path: string): Promise<ResolvedPath>;
  /** Adds a mount at a resolved place, over what is there. */
  place(mount: PlacedMount): void;
}

/** A folder on the way. */
interface Level {
  /** The mount that holds it; of several one over another the last. */
  readonly mount: PlacedMount | undefined;
  readonly order: number;
  /** Whether it is not there yet, so that no link can be below it. */
  readonly missing: boolean;
}

/**
 * @param rootfs an open O_PATH descriptor of the root file system, in which nothing runs yet, and its path
 * @param hostPaths looks up what lies in volumes
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
    if (names > mostNames) throw new Error(`the paths of this container lead through more than ${mostNames} folders and links`);
  };

  const linkOfImage = (path: string): LinkFound => {
    const found = known.get(path) ?? linkFoundAt(rootfs.path + path);
    known.set(path, found);
    return found;
  };
  /** What is found at `path`, whose folder is `above`. */
  const levelAt = (path: string, above: Level): Level => {
    const here = placed.get(path);
    if (here !== undefined && here.order > above.order) return { ...here, missing: false };
    return above;
  };
  const root: Level = { mount: undefined, order: -1, missing: false };
  const top = (): Level => levelAt('/', root);
  /** Whether nothing on the way is a link or a mount: the kernel says so at once. */
  const isPlain = (path: string): boolean => {
    for (let end = path.length; end > 0; end = path.lastIndexOf('/', end - 1)) if (placed.has(path.slice(0, end))) return false;
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
      return isOf(await hostPaths.ownFacts(place), 'link') ? { target: await hostPaths.linkTarget(place) } : 'other';
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
          continue;
        }
        links += 1;
        if (links > mostLinks) throw new Error(`it leads through more than ${mostLinks} links`);
        if (found.target.startsWith('/')) done.length = 0;
        append(ahead, partsOf(found.target).reverse());
      }
      return { path: `/${done.map((one) => one.name).join('/')}`, through, throughVolume };
    },
  };
}

type KernelFolder = '/proc' | '/sys';
/** A link, nothing, or anything else. */
type LinkFound = { readonly target: string } | 'missing' | 'other';

const plainly = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;

/** Most names are no links, or of nothing: neither costs an exception. */
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
    // EINVAL: it is no link. EACCES: not even root may look, so that no runtime can mount there either.
    if (code === 'EINVAL' || code === 'EACCES') return 'other';
    throw thrown;
  }
}

/** What a new file system of the runtime's own holds. */
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
 * A path of a container as it is taken: without `.`, empty parts and `..`, which does not lead above the root (cri-api says nothing of them;
 * other runtimes clean them). By its text alone: `..` takes back the name before it, also where that is a link. This path is
 * checked, and the runtime gets it. Pure.
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
