import { errnoIs, tolerate } from '../../errors/index.ts';
import { DT_DIR, startDescent, statEntry } from './descent.ts';
import type { Descent, EntryStat } from './descent.ts';

export interface DiskUsage {
  /** Bytes of the blocks in use. A file with several links counts once. */
  readonly bytes: number;
  readonly inodes: number;
}

/**
 * Measures what the tree at `path` uses on its own file system, including the folder itself. Mounts below it
 * are omitted, and so are names that disappear in the meantime. ENOENT: nothing exists there. Yields every
 * few calls.
 */
export function* diskUsage(path: string): Generator<void, DiskUsage, void> {
  const { descent, name } = startDescent(path);
  const linked = new Set<bigint>();
  let blocks = 0n;
  let inodes = 0;
  const count = (stat: EntryStat): void => {
    if (stat.links > 1) {
      if (linked.has(stat.inode)) return;
      linked.add(stat.inode);
    }
    blocks += stat.blocks;
    inodes += 1;
  };
  try {
    const root = statEntry(descent.fd, name);
    count(root);
    enter(descent, name);
    for (let steps = 1; descent.depth > 0; steps++) {
      if (steps % 64 === 0) yield;
      const entry = descent.next();
      if (entry === undefined) {
        descent.leave();
        continue;
      }
      const stat = statOrGone(descent, entry.name);
      if (stat === undefined || stat.mountRoot) continue;
      count(stat);
      if (entry.type === DT_DIR || entry.type === 0) enter(descent, entry.name);
    }
    return { bytes: Number(blocks * 512n), inodes };
  } finally {
    descent.close();
  }
}

function statOrGone(descent: Descent, name: Buffer): EntryStat | undefined {
  return tolerate(errnoIs('ENOENT'), () => statEntry(descent.fd, name));
}

/** Enters `name` if it still is a folder of this file system. */
function enter(descent: Descent, name: Buffer): void {
  tolerate(errnoIs('ENOENT', 'ENOTDIR', 'ELOOP', 'EXDEV'), () => descent.enter(name));
}
