import { dirname } from 'node:path/posix';
import { compare } from '../archives/files.ts';
import type { PackageFile } from '../archives/files.ts';

const folderMode = 0o040_755;
const linkMode = 0o120_777;
const fileModes = { plain: 0o100_644, executable: 0o100_755 } as const;

/**
 * Writes the archive of an initial file system (Linux, driver-api/early-userspace/buffer-format.rst: cpio,
 * format "newc"), in the order of the paths, without times. All files belong to root.
 * @param folders empty folders, for mounts
 */
export function cpioOf(files: readonly PackageFile[], folders: readonly string[]): Buffer {
  const parents = [...files.map(({ path }) => dirname(path)), ...folders].flatMap(withParents);
  const entries = [
    ...[...new Set(parents)].map((path) => ({ path, mode: folderMode, bytes: new Uint8Array() })),
    ...files.map(({ path, content }) =>
      'target' in content
        ? { path, mode: linkMode, bytes: Buffer.from(content.target) }
        : {
            path,
            mode: content.executable ? fileModes.executable : fileModes.plain,
            bytes: content.bytes,
          },
    ),
  ].sort((a, b) => compare(a.path, b.path));
  const parts = entries.flatMap(({ path, mode, bytes }, index) => entry(index + 1, path, mode, bytes));
  return Buffer.concat([...parts, ...entry(0, 'TRAILER!!!', 0, new Uint8Array())]);
}

function entry(inode: number, path: string, mode: number, bytes: Uint8Array): Uint8Array[] {
  const name = Buffer.from(`${path}\0`);
  const links = mode === folderMode ? 2 : 1;
  // inode, mode, uid, gid, links, time, size, four device numbers, length of the name, no checksum
  const numbers = [inode, mode, 0, 0, links, 0, bytes.length, 0, 0, 0, 0, name.length, 0];
  const header = `070701${numbers.map((number) => number.toString(16).padStart(8, '0')).join('')}`;
  return [padded(Buffer.concat([Buffer.from(header), name])), padded(bytes)];
}

/** Headers and contents begin at multiples of four bytes. */
const padded = (bytes: Uint8Array): Buffer =>
  Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);

function withParents(path: string): string[] {
  const all: string[] = [];
  for (let at = path; at !== '.' && at !== '/'; at = dirname(at)) all.push(at);
  return all;
}
