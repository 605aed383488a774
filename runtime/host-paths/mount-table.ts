import { readFile } from 'node:fs/promises';
import { parseMountinfo } from '../container-mounts/mountinfo.ts';
import type { MountLine } from '../container-mounts/mountinfo.ts';

/** Finds the mount of a path. */
export interface MountTable {
  /** Uses only the text of the path: nothing is looked up. */
  mountOf(path: string): Promise<Pick<MountLine, 'target' | 'fstype'>>;
}

/**
 * How long a read table is used, in milliseconds: a pod may name thousands of paths, and a node has thousands
 * of mounts.
 */
const freshMs = 100;

/**
 * Returns the mounts of this process. At worst, a slightly stale table puts a question in another queue.
 * @param read /proc/self/mountinfo
 * @param clock in milliseconds
 */
export function createMountTable(
  read = (): Promise<string> => readFile('/proc/self/mountinfo', 'utf8'),
  clock = (): number => performance.now(),
): MountTable {
  let known: { readonly byTarget: Promise<ReadonlyMap<string, string>>; readonly at: number } | undefined;
  const byTarget = (): Promise<ReadonlyMap<string, string>> => {
    const now = clock();
    if (known === undefined || now - known.at > freshMs) {
      // If several mounts have one target, the last one covers the others.
      const fresh = read().then(
        (text) => new Map(parseMountinfo(text).map(({ target, fstype }) => [target, fstype])),
      );
      known = { byTarget: fresh, at: now };
      fresh.catch(() => (known = undefined));
    }
    return known.byTarget;
  };
  return {
    async mountOf(path) {
      const mounts = await byTarget();
      for (let end = path.length; end > 0; end = path.lastIndexOf('/', end - 1)) {
        const target = path.slice(0, end);
        const fstype = mounts.get(target);
        if (fstype !== undefined) return { target, fstype };
      }
      return { target: '/', fstype: mounts.get('/') ?? '' };
    },
  };
}
