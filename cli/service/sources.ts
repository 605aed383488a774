import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { append } from '../../base/lists/index.ts';
import { linesOf, readText } from '../../cni-plugins/index.ts';

type Source = Exclude<Awaited<ReturnType<typeof readText>>, { readonly message: string }>;

interface Sources {
  readonly sources: readonly Source[];
  /** Files that could not be read, each as `FILE:1:1: …`. */
  readonly unread: readonly string[];
}

/**
 * Reads the text of files, of the files of a folder, and of standard input (`-`), in the order of `paths`. A
 * file that cannot be read, is too large or is not text is a problem with its place; the other files are
 * still returned.
 *
 * @throws CLI_FILE_UNREADABLE when none of the named files can be read
 */
export async function sourcesOf(paths: readonly string[]): Promise<Sources> {
  const sources: Source[] = [];
  const unread: string[] = [];
  const failed: { readonly on: string; readonly why: string }[] = [];
  const take = async (file: string, chunks: AsyncIterable<Buffer>): Promise<void> => {
    const read = await readText(file, chunks);
    if ('text' in read) sources.push(read);
    else append(unread, linesOf([read]));
  };
  const takeFolder = async (folder: string): Promise<void> => {
    for (const name of (await readdir(folder)).filter((one) => /^[^.].*\.(?:ya?ml|json)$/u.test(one)).toSorted()) {
      const file = join(folder, name);
      try {
        // Reading a pipe would block.
        if ((await stat(file)).isFile()) await take(file, createReadStream(file));
        else unread.push(`${file}:1:1: it is not a file`);
      } catch (thrown) {
        unread.push(unreadable(file, reasonOf(thrown)));
      }
    }
  };
  for (const path of paths) {
    try {
      if (path === '-') await take('-', process.stdin);
      else if ((await stat(path)).isDirectory()) await takeFolder(path);
      else await take(path, createReadStream(path));
    } catch (thrown) {
      const why = reasonOf(thrown);
      failed.push({ on: path, why });
      unread.push(unreadable(path, why));
    }
  }
  const [first] = failed;
  if (first === undefined || failed.length < paths.length) return { sources, unread };
  throw new PortcullisError({
    code: 'CLI_FILE_UNREADABLE',
    kind: 'invalid',
    attempted: 'read file',
    ...first,
    fix: 'name a readable file; nothing was applied',
  });
}

const unreadable = (file: string, why: string): string => `${file}:1:1: it cannot be read: ${why}`;
