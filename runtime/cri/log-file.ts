import { watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { asPortcullisError, attempt } from '../../base/errors/index.ts';
import { parseLogLine } from './log-line.ts';
import type { LogEntry } from './log-line.ts';

export interface FollowLogOptions {
  /** Return only the last lines of the container, this many. Default: all. */
  readonly tail?: number;
  /** Continue until the container has ended, through rotations. */
  readonly follow?: boolean;
  /** Reports whether more lines may still be written. Called when there is nothing left to read. */
  readonly isRunning?: () => Promise<boolean>;
  readonly signal?: AbortSignal;
}

const blockSize = 64 * 1024;
const newline = 10;
/**
 * Longer than any line that a runtime writes (conmon: 8 KiB, containerd: 16 KiB). A longer text without a
 * line end is returned as it is.
 */
const longestLine = 1024 * 1024;
/** How long to wait for a change that no notification reports. */
const recheckMs = 1000;

/** Reads a container's log. Throws CRI_LOG_UNREADABLE. */
export async function* followContainerLog(
  path: string,
  options: FollowLogOptions = {},
): AsyncGenerator<LogEntry> {
  let file = await openLog(path);
  try {
    let position = options.tail === undefined ? 0 : await tailPosition(file, options.tail);
    let rest: Buffer = Buffer.alloc(0);
    for (;;) {
      // Checked before reading, so that everything written before the container ended is certainly read.
      const more =
        options.follow === true &&
        options.signal?.aborted !== true &&
        (await (options.isRunning?.() ?? true));
      const rotated = options.follow === true ? await successor(path, file) : undefined;
      for (;;) {
        const block = Buffer.alloc(blockSize);
        const { bytesRead } = await file.read(block, 0, blockSize, position);
        if (bytesRead === 0) break;
        position += bytesRead;
        rest = Buffer.concat([rest, block.subarray(0, bytesRead)]);
        const end = rest.lastIndexOf(newline);
        yield* lines(rest.subarray(0, end + 1));
        rest = rest.subarray(end + 1);
        if (rest.length > longestLine) {
          yield parseLogLine(rest);
          rest = Buffer.alloc(0);
        }
        if (options.signal?.aborted === true) return;
      }
      if (rotated !== undefined) {
        await file.close();
        file = rotated;
        position = 0;
      } else if (more) await change(path, options.signal);
      else break;
    }
    if (rest.length > 0) yield parseLogLine(rest);
  } finally {
    await file.close();
  }
}

function* lines(block: Buffer): Generator<LogEntry> {
  for (let start = 0; start < block.length;) {
    const end = block.indexOf(newline, start);
    yield parseLogLine(block.subarray(start, end));
    start = end + 1;
  }
}

/** Returns where the last `count` lines of the container begin: after the full entry before them. */
async function tailPosition(file: FileHandle, count: number): Promise<number> {
  const { size } = await file.stat();
  if (count <= 0) return size;
  let full = 0;
  let rest: Buffer = Buffer.alloc(0);
  for (let start = size; start > 0;) {
    const length = Math.min(blockSize, start);
    const block = Buffer.alloc(length);
    await file.read(block, 0, length, start - length);
    start -= length;
    rest = Buffer.concat([block, rest]);
    // Each entry whose beginning has been read, from the last one backwards.
    for (let end = rest.lastIndexOf(newline); end >= 0;) {
      const before = end === 0 ? -1 : rest.lastIndexOf(newline, end - 1);
      if (before < 0 && start > 0) break;
      // The last entry ends a line of the container even if it is partial, because nothing follows.
      if (full === 0 || !parseLogLine(rest.subarray(before + 1, end)).partial) full += 1;
      if (full > count) return start + end + 1;
      rest = rest.subarray(0, before + 1);
      end = before;
    }
  }
  return 0;
}

/** Returns the file that is now at `path`, if it is not `file`. */
async function successor(path: string, file: FileHandle): Promise<FileHandle | undefined> {
  try {
    const [ours, now] = await Promise.all([file.stat(), stat(path)]);
    return ours.ino === now.ino && ours.dev === now.dev ? undefined : await open(path, 'r');
  } catch {
    return undefined; // in the middle of a rotation: the next check will find it
  }
}

/** Waits for a change in the log's folder (a write, a rotation), at most {@link recheckMs}. */
async function change(path: string, signal: AbortSignal | undefined): Promise<void> {
  const stop = new AbortController();
  const watcher = watched(dirname(path), () => stop.abort());
  const all = signal === undefined ? stop.signal : AbortSignal.any([stop.signal, signal]);
  await sleep(recheckMs, undefined, { signal: all }).catch(() => undefined);
  watcher?.close();
}

/** Undefined where inotify has no watch or instance left: the log is then looked at from time to time. */
function watched(folder: string, changed: () => void): FSWatcher | undefined {
  return attempt(() => watch(folder, { persistent: false }, changed).on('error', changed));
}

async function openLog(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (thrown) {
    throw asPortcullisError(thrown, {
      code: 'CRI_LOG_UNREADABLE',
      kind: 'not-found',
      attempted: 'read container log',
      on: path,
      fix: 'run the command on the node of the container, as a user that may read its log folder',
    });
  }
}
