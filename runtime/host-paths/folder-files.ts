import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { FileText } from './file-text.ts';

/** A text file in a folder, or in a folder of it. */
export interface FolderFile {
  /** Its path below the folder. */
  readonly name: string;
  /** Changes with each change of the file: device, inode, size and times of what the name leads to. */
  readonly version: string;
  /** In bytes. */
  readonly size: number;
}

/** The content of a file, a character a byte (latin1); or why there is none: see {@link FileText}, or the failure of the system. */
export type FolderContent = FileText | { readonly failed: string };

/** Names that a reader of networks, NetworkPolicies, services or CDI devices takes. */
const isText = (name: string): boolean => /\.(?:conflist|conf|json|ya?ml)$/u.test(name) && !name.startsWith('.');

/** The text files of a folder and of the folders in it. One that is gone meanwhile, or a link that leads nowhere, is passed over. */
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
      for (const inner of await readdir(join(folder, name))) if (isText(inner)) await add(join(name, inner));
  }
  return files;
}

/** The content of each of these files of a folder, in their order. One that cannot be read does not keep others from being read. */
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

/** Undefined where there is nothing, and for a loop of links, which leads nowhere. */
async function statIfThere(path: string): Promise<Awaited<ReturnType<typeof statBig>> | undefined> {
  return statBig(path).catch((thrown: unknown) => {
    const { code = '' } = thrown as NodeJS.ErrnoException;
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(code)) return undefined;
    throw thrown;
  });
}

const statBig = (path: string) => stat(path, { bigint: true });
