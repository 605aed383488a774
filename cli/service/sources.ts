import { readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';

interface Sources {
  readonly sources: readonly { readonly file: string; readonly text: string }[];
  /** What could not be read, each `FILE:1:1: …`. */
  readonly unread: readonly string[];
}

/**
 * The text of files, of the files of a folder, and of standard input (`-`), in the order of `paths`. What can not be read is a problem with
 * its place, and the others are there.
 *
 * @throws CLI_FILE_UNREADABLE when nothing that was named can be read
 */
export async function sourcesOf(paths: readonly string[]): Promise<Sources> {
  const sources: { file: string; text: string }[] = [];
  const unread: string[] = [];
  const failed: { readonly on: string; readonly why: string }[] = [];
  for (const path of paths) {
    try {
      if (path === '-') sources.push({ file: '-', text: await readInput() });
      else if ((await stat(path)).isDirectory()) {
        const found = await readFolder(path);
        sources.push(...found.sources);
        unread.push(...found.unread);
      } else sources.push({ file: path, text: await readFile(path, 'utf8') });
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

async function readFolder(folder: string): Promise<Sources> {
  const sources: { file: string; text: string }[] = [];
  const unread: string[] = [];
  const names = (await readdir(folder)).filter((name) => /^[^.].*\.(?:ya?ml|json)$/u.test(name)).toSorted();
  for (const file of names.map((name) => join(folder, name))) {
    try {
      // A pipe would be waited for.
      if ((await stat(file)).isFile()) sources.push({ file, text: await readFile(file, 'utf8') });
      else unread.push(`${file}:1:1: it is not a file`);
    } catch (thrown) {
      unread.push(unreadable(file, reasonOf(thrown)));
    }
  }
  return { sources, unread };
}

const unreadable = (file: string, why: string): string => `${file}:1:1: it can not be read: ${why}`;

async function readInput(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}
