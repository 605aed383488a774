import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileReason, folderReason } from '../../base/errors/index.ts';
import type { FolderLimits } from './messages.ts';

/** Stamps that show whether a folder or one of its files changed. Synchronous. */

export interface FolderStamps {
  /**
   * Device, inode and birth time. Another folder may appear at the same path, or a mount may be gone. A file
   * system gives the inode of a removed folder to the next one. Without birth times (statx(2)), it is 0.
   */
  readonly identity: string;
  /** By file name. */
  readonly files: ReadonlyMap<string, FileStamp>;
}

export type FileStamp =
  | {
      readonly stamp: string;
      /** Time of the last change of content or inode, in ms since 1970. */
      readonly changedMs: number;
      readonly bytes: number;
    }
  | { readonly problem: string };

/** Returns whether a file with this name is read. */
export const isFollowed = (name: string): boolean => /\.(?:ya?ml|json)$/u.test(name) && !name.startsWith('.');

/**
 * Returns the stamps of the folder that the path resolves to; links are followed.
 * @param what what the files hold, for messages
 * @returns `missing` if nothing exists at the path; `problem` if the folder cannot be listed or holds more
 * than is read
 */
export function stampsOf(
  folder: string,
  limits: FolderLimits,
  what: string,
): FolderStamps | 'missing' | { readonly problem: string } {
  try {
    const { dev, ino, birthtimeNs } = statSync(folder, { bigint: true });
    const names = readdirSync(folder).filter(isFollowed).sort();
    if (names.length > limits.files) return { problem: `has more than ${limits.files} files of ${what}` };
    const files = new Map(names.map((name) => [name, fileStamp(join(folder, name))]));
    if (bytesOf(files, limits.file) > limits.folder)
      return { problem: `has more than ${limits.folder} bytes of ${what}` };
    return { identity: `${dev}:${ino}:${birthtimeNs}`, files };
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'ENOENT'
      ? 'missing'
      : { problem: `cannot be listed: ${folderReason(thrown, folder)}` };
  }
}

/** Returns the total size of the files that are read. A file that is too large is a problem of its own. */
function bytesOf(files: ReadonlyMap<string, FileStamp>, mostBytes: number): number {
  const sizes = [...files.values()].map((file) =>
    'stamp' in file && file.bytes <= mostBytes ? file.bytes : 0,
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

/**
 * Returns the stamp of a file.
 * @returns a problem if it is not a regular file, because reading a pipe without a writer would block
 */
export function fileStamp(path: string): FileStamp {
  try {
    return stampOfStats(statSync(path, { bigint: true }));
  } catch (thrown) {
    return { problem: fileReason(thrown, path) };
  }
}

export function stampOfStats(stats: {
  isFile(): boolean;
  readonly dev: bigint;
  readonly ino: bigint;
  readonly size: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}): FileStamp {
  if (!stats.isFile()) return { problem: 'it is not a regular file' };
  const { dev, ino, size, mtimeNs, ctimeNs } = stats;
  return {
    stamp: `${dev}:${ino} ${size} ${mtimeNs} ${ctimeNs}`,
    changedMs: Number((mtimeNs > ctimeNs ? mtimeNs : ctimeNs) / 1_000_000n),
    bytes: Number(size),
  };
}
