import { watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';
import { readdir, realpath, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * How long the files must stay unchanged, in ms. An editor writes in several steps, and half a policy is not
 * a policy.
 */
const quietMs = 500;
/** How often to check files for which the kernel reports no events (network file systems), in ms. */
const lookMs = 60_000;
/** The granularity of file times, in ms: the kernel uses the time of its last tick. */
const clockGrainMs = 20;

export interface PolicyFiles {
  /**
   * Sets the files and folders to watch from now on. A write after `read` (the time when they were read)
   * counts as a change.
   */
  follow(paths: readonly string[], read: Date): Promise<void>;
  close(): void;
}

/** Callbacks for files that cannot be checked, because their file server does not answer. */
interface FilesSilent {
  readonly afterMs: number;
  /** Called once for each look. When the files answer after all, they count as changed. */
  readonly reportSilent: () => void;
}

/**
 * Calls `changed` after the files, or the folders themselves, have changed and then stayed unchanged. Follows
 * symbolic links and watches both ends: a mounted ConfigMap swaps one. Never throws: a file that cannot be
 * watched is checked once a minute. One path is checked at a time, and no check begins before the last one
 * has ended: a file server that does not answer blocks only one of libuv's threads.
 */
export function watchPolicyFiles(
  changed: () => void,
  silent: FilesSilent = { afterMs: lookMs, reportSilent: () => undefined },
): PolicyFiles {
  let paths: readonly string[] = [];
  let seen = '';
  let watchers = new Map<string, FSWatcher>();
  let pending: NodeJS.Timeout | undefined;
  const events = { count: 0 };
  let closed = false;

  const arm = (before?: string): void => {
    pending = setTimeout(() => void settle(before), quietMs / 2);
  };
  const settle = async (before: string | undefined): Promise<void> => {
    const known = events.count;
    const answer = { isLate: false };
    const late = setTimeout(() => {
      answer.isLate = true;
      if (!closed) silent.reportSilent();
    }, silent.afterMs).unref();
    const found = await signature(paths);
    clearTimeout(late);
    pending = undefined;
    if (closed) return;
    if (answer.isLate) {
      seen = found;
      return changed();
    }
    if (found !== seen && found === before) {
      // Twice the same signature: no process is writing.
      seen = found;
      changed();
    }
    if (found !== seen) arm(found);
    else if (events.count !== known) arm();
  };
  // An event in a folder may concern any file in it, and some folders are never quiet: such events do not
  // postpone the reload.
  const touched = (): void => {
    events.count += 1;
    if (!closed && pending === undefined) arm();
  };
  const look = setInterval(touched, lookMs);
  look.unref();

  return {
    async follow(wanted, read) {
      paths = wanted;
      const late = await writtenSince(paths, read.getTime() - clockGrainMs);
      seen = late ? '' : await signature(paths);
      const folders = await foldersOf(paths);
      if (closed) return;
      const kept = new Map<string, FSWatcher>();
      for (const folder of folders) {
        const watcher = watchers.get(folder) ?? open(folder, touched);
        if (watcher !== undefined) kept.set(folder, watcher);
      }
      for (const [folder, watcher] of watchers) if (!kept.has(folder)) watcher.close();
      watchers = kept;
      if (late) touched();
    },
    close() {
      closed = true;
      clearTimeout(pending);
      clearInterval(look);
      for (const watcher of watchers.values()) watcher.close();
    },
  };
}

function open(folder: string, touched: () => void): FSWatcher | undefined {
  try {
    const watcher = watch(folder, { persistent: false }, touched);
    // The folder itself may be removed.
    watcher.on('error', () => watcher.close());
    return watcher;
  } catch {
    return undefined;
  }
}

/**
 * Returns the paths that are folders, and the parent folders of all paths, each as written and as resolved.
 */
async function foldersOf(paths: readonly string[]): Promise<ReadonlySet<string>> {
  const folders = new Set<string>();
  for (const path of paths) {
    const real = await realpath(path).catch(() => path);
    for (const one of [path, real]) {
      folders.add(dirname(one));
      if (await isFolder(one)) folders.add(one);
    }
  }
  return folders;
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (facts) => facts.isDirectory(),
    () => false,
  );
}

async function writtenSince(paths: readonly string[], time: number): Promise<boolean> {
  for (const path of paths) {
    const facts = await stat(path).catch(() => undefined);
    if (facts !== undefined && facts.ctimeMs >= time) return true;
  }
  return false;
}

/**
 * Returns a string that changes when a file changes: identity, size and times of each file, and the names in
 * each folder.
 */
async function signature(paths: readonly string[]): Promise<string> {
  const parts: string[] = [];
  for (const path of paths) {
    try {
      const facts = await stat(path, { bigint: true });
      parts.push(
        facts.isDirectory()
          ? `${path} ${(await readdir(path)).sort().join('/')}`
          : `${path} ${facts.dev}:${facts.ino} ${facts.size} ${facts.mtimeNs} ${facts.ctimeNs}`,
      );
    } catch (error) {
      parts.push(`${path} ${String((error as NodeJS.ErrnoException).code)}`);
    }
  }
  return parts.join('\n');
}
