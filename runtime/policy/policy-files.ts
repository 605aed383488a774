import { watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { signatureOfFiles } from '../../base/storage/index.ts';

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
  let isIncomplete = false;
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
    if (isIncomplete) await watchFolders();
    const found = await signatureOfFiles(paths);
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
  const watchFolders = async (): Promise<void> => {
    const { folders, complete } = await foldersOf(paths);
    if (closed) return;
    isIncomplete = !complete;
    const kept = new Map<string, FSWatcher>();
    for (const [identity, folder] of folders) {
      const watcher = watchers.get(identity) ?? open(folder, touched);
      if (watcher !== undefined) kept.set(identity, watcher);
    }
    const former = watchers;
    watchers = kept;
    for (const [identity, watcher] of former) if (!kept.has(identity)) watcher.close();
    // A change just before a folder was watched caused no event.
    if ([...kept.keys()].some((identity) => !former.has(identity))) touched();
  };

  return {
    async follow(wanted, read) {
      paths = wanted;
      const late = await writtenSince(paths, read.getTime() - clockGrainMs);
      seen = late ? '' : await signatureOfFiles(paths);
      await watchFolders();
      if (late && !closed) touched();
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
 * Returns the paths that are folders, and the parent folders of all paths, each as written and as resolved,
 * by their identities: a watcher stays with a folder that was renamed or removed, and another folder at its
 * path needs another watcher. In place of a parent that does not exist, its nearest ancestor that exists:
 * they are not complete then.
 */
async function foldersOf(
  paths: readonly string[],
): Promise<{ readonly folders: ReadonlyMap<string, string>; readonly complete: boolean }> {
  const folders = new Map<string, string>();
  let complete = true;
  const add = async (path: string): Promise<boolean> => {
    const identity = await identityOfFolder(path);
    if (identity !== undefined) folders.set(identity, path);
    return identity !== undefined;
  };
  for (const path of paths) {
    const real = await realpath(path).catch(() => path);
    for (const one of [path, real]) {
      let parent = dirname(one);
      while (!(await add(parent)) && parent !== dirname(parent)) {
        complete = false;
        parent = dirname(parent);
      }
      await add(one);
    }
  }
  return { folders, complete };
}

/** Returns a string that no other folder has at this path; undefined if there is no folder. */
async function identityOfFolder(path: string): Promise<string | undefined> {
  const facts = await stat(path, { bigint: true }).catch(() => undefined);
  if (facts?.isDirectory() !== true) return undefined;
  return `${path} ${facts.dev}:${facts.ino} ${facts.birthtimeNs}`;
}

async function writtenSince(paths: readonly string[], time: number): Promise<boolean> {
  for (const path of paths) {
    const facts = await stat(path).catch(() => undefined);
    if (facts !== undefined && facts.ctimeMs >= time) return true;
  }
  return false;
}
