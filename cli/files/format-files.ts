import { realpath, stat, truncate, writeFile } from 'node:fs/promises';
import { isPortcullisError, PortcullisError } from '../../base/errors/index.ts';
import { describeProblems, textOf } from '../../base/schema/index.ts';
import type { Problem } from '../../base/schema/index.ts';
import { writeFileAtomic } from '../../base/storage/index.ts';
import { readInputFile, readStandardInput } from './input-file.ts';

/** More than any policy or profile has. */
const mostBytes = 4 * 2 ** 20;

interface Formatting {
  /** Only report which files are not in canonical form. */
  readonly check: boolean;
  /** The attempt that errors name, such as `format policy`. */
  readonly attempted: string;
  readonly format: (
    text: string,
    file: string,
  ) => { readonly text: string; readonly problems: readonly Problem[] };
}

interface Formatted {
  /** The files that were not in canonical form. `-` is standard input. */
  readonly changed: readonly string[];
  /** The canonical form of standard input, unless `check` is set. */
  readonly text?: string;
}

/**
 * Writes files in their canonical form. A file keeps its mode and its owner, and a link still leads to it.
 * Reads every file before it writes the first: one invalid file leaves all files unchanged. `-` is standard
 * input.
 * @throws PortcullisError `CLI_FORMAT_UNREADABLE`, `CLI_FILE_UNREADABLE`, `CLI_FILE_UNWRITABLE`, STORAGE_…
 */
export async function formatFiles(
  files: readonly string[],
  { check, attempted, format }: Formatting,
): Promise<Formatted> {
  const changed: string[] = [];
  const written: (readonly [string, string])[] = [];
  let printed: string | undefined;
  // Standard input can be read only once.
  for (const file of new Set(files)) {
    const isInput = file === '-';
    const bytes = isInput ? await readStandardInput(mostBytes) : await readInputFile(file, mostBytes);
    const before = textOf(file, bytes);
    if (!('text' in before)) throw unreadable(attempted, file, [before]);
    const { text, problems } = format(before.text, file);
    if (problems.length > 0) throw unreadable(attempted, file, problems);
    if (isInput && !check) printed = text;
    if (text === before.text) continue;
    changed.push(file);
    if (!isInput) written.push([file, text]);
  }
  if (!check) for (const [file, text] of written) await rewrite(file, text);
  return { changed, ...(printed === undefined ? {} : { text: printed }) };
}

/** Returns what a command prints about formatted files, and after that the text of standard input. */
export function formattedText({ changed, text = '' }: Formatted, check: boolean): string {
  const word = check ? 'not in canonical form' : 'formatted';
  const named = changed.filter((file) => check || file !== '-');
  return [...named.map((file) => `${word}: ${file}\n`), text].join('');
}

async function rewrite(file: string, text: string): Promise<void> {
  const place = await realpath(file).catch(() => file);
  const found = await stat(place).catch(() => undefined);
  if (found?.isFile() !== true)
    throw new PortcullisError({
      code: 'CLI_FILE_UNWRITABLE',
      kind: 'invalid',
      attempted: 'write file',
      on: file,
      why: 'it is not a regular file',
      fix: 'name a file',
    });
  const { mode, uid, gid } = found;
  try {
    await writeFileAtomic(place, text, { mode: mode & 0o777, owner: { uid, gid } });
  } catch (error) {
    if (!isPortcullisError(error) || error.code !== 'STORAGE_NO_ACCESS') throw error;
    // Only root can give a new file to another user or group, but this user may be able to write this file.
    await overwrite(place, text).catch(() => {
      throw error;
    });
  }
}

/** The content is replaced before the file is shortened: a full disk does not empty it. */
async function overwrite(file: string, text: string): Promise<void> {
  await writeFile(file, text, { flag: 'r+' });
  await truncate(file, Buffer.byteLength(text));
}

function unreadable(attempted: string, file: string, problems: readonly Problem[]): PortcullisError {
  return new PortcullisError({
    code: 'CLI_FORMAT_UNREADABLE',
    kind: 'invalid',
    attempted,
    on: file,
    why: describeProblems(problems),
    fix: 'correct the lines named',
  });
}
