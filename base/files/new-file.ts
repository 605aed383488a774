import { rm, writeFile } from 'node:fs/promises';

/**
 * Writes a new file that no other process reads yet. A file that cannot be written completely, for example
 * on a full disk, is removed again.
 * @throws the error of node:fs, which names the path ({@link namingFile})
 */
export async function writeNewFile(
  path: string,
  data: string | Uint8Array,
  options: { readonly mode: number; readonly flag?: 'w' | 'wx' },
): Promise<void> {
  try {
    await writeFile(path, data, options);
  } catch (thrown) {
    // A failure to open it names the path: there is no file, or another one.
    if (thrown instanceof Error && !('path' in thrown)) await rm(path, { force: true });
    namingFile(path)(thrown);
  }
}

/**
 * Returns a function that throws the error of a call with a descriptor again, with the path of the file. Node
 * leaves the path out, and then it is not known which disk is full.
 */
export function namingFile(path: string): (thrown: unknown) => never {
  return (thrown) => {
    if (thrown instanceof Error && !('path' in thrown))
      Object.assign(thrown, { path, message: `${thrown.message} '${path}'` });
    throw thrown;
  };
}
