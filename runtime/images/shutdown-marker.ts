import { open, readFile, rm } from 'node:fs/promises';
import { parseJson } from '../../base/json/index.ts';
import { currentBootId } from '../../base/process/index.ts';
import { dropAbandonedWrites, isDiskFull, writeFileAtomic } from '../../base/storage/index.ts';
import type { StoreFolders } from './folders.ts';

/**
 * Determines which layers may have lost writes: those of a run that did not stop in order, or that ended
 * before the machine was restarted.
 */
export interface ShutdownMarker {
  /** Layer folders whose files must be compared with their lists before they are used. */
  readonly unchecked: ReadonlySet<string>;
  /**
   * Records an orderly stop. @param unchecked layers that this run has not compared either: the next run has
   * to compare them
   */
  stopped(unchecked: Iterable<string>): Promise<void>;
}

interface LastRun {
  readonly bootId: string;
  readonly clean: boolean;
  /** Undefined: the layers are unknown, so all of them count as unchecked. */
  readonly unchecked: readonly string[] | undefined;
}

/** @param recorded folders of the recorded layers */
export async function openShutdownMarker(
  folders: StoreFolders,
  recorded: Iterable<string>,
): Promise<ShutdownMarker> {
  const path = `${folders.root}/last-run.json`;
  const write = (run: LastRun): Promise<void> =>
    writeFileAtomic(path, JSON.stringify(run), { mode: 0o600, durable: true });
  await dropAbandonedWrites(path);
  const before = await read(path);
  const vouched = before.clean && before.bootId === currentBootId() ? before.unchecked : undefined;
  const known = new Set(recorded);
  const unchecked = vouched === undefined ? known : new Set(vouched.filter((folder) => known.has(folder)));
  // Durable before any other write: the mark of an earlier stop must not count for this run. The mark of a
  // killed run needs no change: it names no layers, so no layer counts as checked until a run stops in order.
  if (before.clean)
    await write({ bootId: currentBootId(), clean: false, unchecked: undefined }).catch(
      async (thrown: unknown) => {
        if (!isDiskFull(thrown)) throw thrown;
        // An absent mark means the same, and needs no space on the disk.
        await rm(path, { force: true });
        await using folder = await open(folders.root);
        await folder.sync();
      },
    );
  return {
    unchecked,
    stopped: (left) => write({ bootId: currentBootId(), clean: true, unchecked: [...left] }),
  };
}

/** An absent or unreadable mark means unclean: a store without records has nothing to check anyway. */
async function read(path: string): Promise<LastRun> {
  try {
    const value = parseJson(await readFile(path, 'utf8'));
    if (typeof value === 'object' && value !== null && 'bootId' in value && 'clean' in value)
      return { bootId: String(value.bootId), clean: value.clean === true, unchecked: uncheckedIn(value) };
  } catch {
    // As below.
  }
  return { bootId: '', clean: false, unchecked: undefined };
}

function uncheckedIn(value: object): readonly string[] | undefined {
  // Written by a release that kept no list. If that release stopped in order, it had checked all layers.
  if (!('unchecked' in value)) return [];
  const { unchecked } = value;
  return Array.isArray(unchecked) && unchecked.every((folder) => typeof folder === 'string')
    ? unchecked
    : undefined;
}
