import { statfs } from 'node:fs/promises';
import pLimit from 'p-limit';
import type { Kernel } from '../../base/kernel/index.ts';

/** The space that a container has written, and the space of its file system. */
export interface LayerUsage {
  /** When it was counted: nanoseconds since 1970. */
  readonly at: bigint;
  readonly usedBytes: number;
  readonly inodesUsed: number;
  readonly filesystem: { readonly bytes: number; readonly inodes: number; readonly freeInodes: number };
}

/**
 * Usage of writable layers, counted off the main thread, a few at a time, and counted again when the values
 * are old.
 */
export interface WritableLayers {
  /**
   * Returns one result per folder, in the same order. An old value is returned at once while a new one is
   * counted. The first value is waited for, at most a second. Undefined: the folder does not exist, or
   * counting it takes longer.
   */
  usage(folders: readonly string[]): Promise<readonly (LayerUsage | undefined)[]>;
}

/**
 * The same time as in containerd. A folder that took long is not counted again for longer, so that counting
 * takes at most a twentieth of the time.
 */
const freshMs = 10_000;
const restFactor = 20;
const atOnce = 2;
const patienceMs = 1_000;
/** A folder that was not requested for this long is forgotten: its container no longer exists. */
const forgetMs = 60_000;

interface Entry {
  usage?: LayerUsage;
  staleAt: number;
  askedAt: number;
  counting?: Promise<void>;
}

export function createWritableLayers(
  kernel: Pick<Kernel, 'diskUsage'>,
  now: () => number = () => performance.now(),
): WritableLayers {
  const entries = new Map<string, Entry>();
  const turn = pLimit(atOnce);

  const count = async (folder: string, entry: Entry): Promise<void> => {
    const began = now();
    try {
      const [{ bytes, inodes }, filesystem] = await Promise.all([kernel.diskUsage(folder), statfs(folder)]);
      entry.usage = {
        at: BigInt(Date.now()) * 1_000_000n,
        usedBytes: bytes,
        inodesUsed: inodes,
        filesystem: {
          bytes: filesystem.blocks * filesystem.bsize,
          inodes: filesystem.files,
          freeInodes: filesystem.ffree,
        },
      };
    } catch {
      delete entry.usage;
    }
    entry.staleAt = now() + Math.max(freshMs, restFactor * (now() - began));
  };
  const look = (folder: string): Entry => {
    const entry: Entry = entries.get(folder) ?? { staleAt: -Infinity, askedAt: 0 };
    entries.set(folder, entry);
    entry.askedAt = now();
    if (entry.staleAt <= entry.askedAt)
      entry.counting ??= turn(() => count(folder, entry)).finally(() => {
        delete entry.counting;
      });
    return entry;
  };
  const forget = (): void => {
    const before = now() - forgetMs;
    for (const [folder, entry] of entries)
      if (entry.askedAt < before && entry.counting === undefined) entries.delete(folder);
  };

  return {
    usage: async (folders) => {
      forget();
      const asked = folders.map(look);
      const first = asked.flatMap(({ usage, counting }) =>
        usage === undefined && counting !== undefined ? [counting] : [],
      );
      if (first.length > 0) await withinPatience(Promise.all(first));
      return asked.map(({ usage }) => usage);
    },
  };
}

async function withinPatience(work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const patience = new Promise<void>((resolve) => (timer = setTimeout(resolve, patienceMs)));
  await Promise.race([work, patience]);
  clearTimeout(timer);
}
