import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { reasonOf } from '../../base/errors/index.ts';
import type { FolderLimits } from './messages.ts';

/** What tells whether a folder of files and each of its files changed. Synchronous. */

export interface FolderStamps {
  /** Device and inode: another folder may stand at the same path, or nothing be mounted there any more. */
  readonly identity: string;
  /** By name. */
  readonly files: ReadonlyMap<string, FileStamp>;
}

export type FileStamp =
  | {
      readonly stamp: string;
      /** Of the last change of content or inode, ms since 1970. */
      readonly changedMs: number;
      readonly bytes: number;
    }
  | { readonly problem: string };

/** Whether a file of this name is read. */
export const isFollowed = (name: string): boolean => /\.(?:ya?ml|json)$/u.test(name) && !name.startsWith('.');

/** Of what the path leads to: links are followed. @param what the files hold, in words @returns `missing`: nothing is there; `problem`: it cannot be listed, or holds more than is read */
export function stampsOf(folder: string, limits: FolderLimits, what: string): FolderStamps | 'missing' | { readonly problem: string } {
  try {
    const { dev, ino } = statSync(folder, { bigint: true });
    const names = readdirSync(folder).filter(isFollowed).sort();
    if (names.length > limits.files) return { problem: `holds more than ${limits.files} files of ${what}` };
    const files = new Map(names.map((name) => [name, fileStamp(join(folder, name))]));
    if (bytesOf(files, limits.file) > limits.folder) return { problem: `holds more than ${limits.folder} bytes of ${what}` };
    return { identity: `${dev}:${ino}`, files };
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'ENOENT' ? 'missing' : { problem: `cannot be listed: ${reasonOf(thrown)}` };
  }
}

/** Of what is read: a file that is too large is a problem of its own. */
function bytesOf(files: ReadonlyMap<string, FileStamp>, mostBytes: number): number {
  const sizes = [...files.values()].map((file) => ('stamp' in file && file.bytes <= mostBytes ? file.bytes : 0));
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** @returns a problem for what is no regular file: one that waits for a writer would be waited for */
export function fileStamp(path: string): FileStamp {
  try {
    return stampOfStats(statSync(path, { bigint: true }));
  } catch (thrown) {
    return { problem: reasonOf(thrown) };
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
  if (!stats.isFile()) return { problem: 'it is no regular file' };
  const { dev, ino, size, mtimeNs, ctimeNs } = stats;
  return {
    stamp: `${dev}:${ino} ${size} ${mtimeNs} ${ctimeNs}`,
    changedMs: Number((mtimeNs > ctimeNs ? mtimeNs : ctimeNs) / 1_000_000n),
    bytes: Number(size),
  };
}
