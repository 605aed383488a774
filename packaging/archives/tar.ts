import { posix } from 'node:path';
import { arrayBuffer } from 'node:stream/consumers';
import { pack } from 'tar-stream';
import type { Header } from 'tar-stream';
import { compare } from './files.ts';
import type { PackageFile } from './files.ts';

/** A folder that does not belong to root, or that others may write to. */
export interface OwnedFolder {
  readonly path: string;
  readonly mode: number;
  readonly user: number;
}

export interface TarOptions {
  /** Time of every entry, in seconds since 1970. */
  readonly time: number;
  /** Before every path: `./` in a .deb, `package/` in a package of npm. */
  readonly prefix: string;
  /** Whether folders have entries of their own. npm expects none. */
  readonly folders: boolean;
  /** Empty folders. */
  readonly owned?: readonly OwnedFolder[];
}

/**
 * Writes a tar archive (POSIX ustar). All entries belong to root. Entries are in the order of their paths, so
 * that the same files give the same bytes.
 * @throws Error if two files have one path, or a path does not fit a ustar header: dpkg reads no other form
 */
export async function tarOf(
  files: readonly PackageFile[],
  { time, prefix, folders, owned: ownedFolders = [] }: TarOptions,
): Promise<Buffer> {
  const sorted = [...files].sort((a, b) => compare(a.path, b.path));
  const archive = pack();
  const made = new Set<string>();
  const owned = { uid: 0, gid: 0, uname: 'root', gname: 'root', mtime: new Date(time * 1000) };
  const written = arrayBuffer(archive);
  if (folders && prefix !== '') archive.entry({ ...owned, name: prefix, type: 'directory', mode: 0o755 });
  const folder = (path: string): void => {
    if (made.has(path)) return;
    made.add(path);
    archive.entry({ ...owned, name: fitting(`${prefix}${path}/`), type: 'directory', mode: 0o755 });
  };
  for (const [index, { path, content }] of sorted.entries()) {
    if (path === sorted[index - 1]?.path) throw new Error(`the package has two files ${path}`);
    if (folders) parentsOf(path).forEach(folder);
    const name = fitting(`${prefix}${path}`);
    if ('target' in content)
      archive.entry({ ...owned, name, type: 'symlink', linkname: content.target, mode: 0o777 });
    else {
      const header: Partial<Header> & { readonly name: string } = {
        ...owned,
        name,
        mode: content.executable ? 0o755 : 0o644,
      };
      archive.entry(header, Buffer.from(content.bytes));
    }
  }
  for (const { path, mode, user } of ownedFolders) {
    parentsOf(path).forEach(folder);
    const name = fitting(`${prefix}${path}/`);
    archive.entry({ ...owned, name, type: 'directory', mode, uid: user, gid: user, uname: '', gname: '' });
  }
  archive.finalize();
  return Buffer.from(await written);
}

/** Returns the folders above a path, the outermost first. */
function parentsOf(path: string): string[] {
  const parents: string[] = [];
  for (let at = posix.dirname(path); at !== '.'; at = posix.dirname(at)) parents.unshift(at);
  return parents;
}

/** A ustar header holds 100 bytes of a name, and 155 of the folders before them. */
function fitting(name: string): string {
  const bytes = Buffer.byteLength(name);
  if (bytes <= 100) return name;
  const cut = name.lastIndexOf('/', name.length - 2);
  if (bytes !== name.length || cut > 155 || name.length - cut - 1 > 100)
    throw new Error(`${name} does not fit the header of a tar archive`);
  return name;
}
