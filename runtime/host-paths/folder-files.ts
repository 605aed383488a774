import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { FileText } from './file-text.ts';

/** A text file in a folder, or in one of its subfolders. */
export interface FolderFile {
  /** Its path below the folder. */
  readonly name: string;
  /**
   * Changes with each change of the file: device, inode, size and times of the file to which the name leads.
   */
  readonly version: string;
  /** In bytes. */
  readonly size: number;
}

/**
 * The content of a file, one character per byte (latin1), or why there is none: see {@link FileText}, or the
 * error of the system.
 */
export type FolderContent = FileText | { readonly failed: string };

/** Names that the readers of networks, NetworkPolicies, services or CDI devices accept. */
const isText = (name: string): boolean =>
  /\.(?:conflist|conf|json|ya?ml)$/u.test(name) && !name.startsWith('.');

/**
 * Returns the text files of a folder and of its subfolders. Skips a file or a subfolder that was removed
 * meanwhile, and a dangling link.
 * @throws ENOENT only if the folder itself does not exist
 */
export async function folderFiles(folder: string): Promise<readonly FolderFile[]> {
  const files: FolderFile[] = [];
  const add = async (name: string): Promise<void> => {
    const found = await statIfThere(join(folder, name));
    if (found === undefined) return;
    const { dev, ino, size, mtimeNs, ctimeNs } = found;
    files.push({ name, version: `${dev}:${ino} ${size} ${mtimeNs} ${ctimeNs}`, size: Number(size) });
  };
  for (const name of await readdir(folder)) {
    if (isText(name)) await add(name);
    else if ((await statIfThere(join(folder, name)))?.isDirectory() === true)
      for (const inner of await namesIfThere(join(folder, name)))
        if (isText(inner)) await add(join(name, inner));
  }
  return files;
}

/**
 * Returns the content of each of these files of a folder, in their order. An unreadable file does not prevent
 * reading the others.
 */
export async function folderContents(
  folder: string,
  names: readonly string[],
  read: (path: string) => Promise<FileText>,
): Promise<readonly FolderContent[]> {
  const contents: FolderContent[] = [];
  for (const name of names)
    contents.push(
      await read(join(folder, name)).catch((thrown: unknown): FolderContent => {
        const { code } = thrown as NodeJS.ErrnoException;
        if (code === undefined) throw thrown;
        return { failed: code };
      }),
    );
  return contents;
}

async function namesIfThere(folder: string): Promise<readonly string[]> {
  return readdir(folder).catch((thrown: unknown) => {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw thrown;
  });
}

/** Undefined if nothing is there, and for a loop of links, which leads nowhere. */
async function statIfThere(path: string): Promise<Awaited<ReturnType<typeof statBig>> | undefined> {
  return statBig(path).catch((thrown: unknown) => {
    const { code = '' } = thrown as NodeJS.ErrnoException;
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(code)) return undefined;
    throw thrown;
  });
}

const statBig = (path: string) => stat(path, { bigint: true });
