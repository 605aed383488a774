import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { PortcullisError, fileReason } from '../../base/errors/index.ts';
import type { Problem } from '../../base/schema/index.ts';
import { readText } from '../../cni-plugins/index.ts';

type Source = Exclude<Awaited<ReturnType<typeof readText>>, { readonly message: string }>;

interface Sources {
  readonly sources: readonly Source[];
  /** The problems of files that could not be read. */
  readonly unread: readonly Problem[];
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
  const unread: Problem[] = [];
  const failed: { readonly on: string; readonly why: string }[] = [];
  const take = async (file: string, chunks: AsyncIterable<Buffer>): Promise<void> => {
    const read = await readText(file, chunks);
    if ('text' in read) sources.push(read);
    else unread.push(read);
  };
  const takeFolder = async (folder: string): Promise<void> => {
    for (const name of (await readdir(folder))
      .filter((one) => /^[^.].*\.(?:ya?ml|json)$/u.test(one))
      .toSorted()) {
      const file = join(folder, name);
      try {
        // Reading a pipe would block.
        if ((await stat(file)).isFile()) await take(file, createReadStream(file));
        else unread.push(unreadable(file, 'it is not a file'));
      } catch (thrown) {
        unread.push(unreadable(file, `it cannot be read: ${fileReason(thrown, file)}`));
      }
    }
  };
  for (const path of paths) {
    try {
      if (path === '-') await take('-', process.stdin);
      else if ((await stat(path)).isDirectory()) await takeFolder(path);
      else await take(path, createReadStream(path));
    } catch (thrown) {
      const why = fileReason(thrown, path);
      failed.push({ on: path, why });
      unread.push(unreadable(path, `it cannot be read: ${why}`));
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

function unreadable(file: string, message: string): Problem {
  return { position: { file, line: 1, column: 1 }, path: '', message, unread: true, hidesOthers: true };
}
