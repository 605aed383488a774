import { createHash } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileReason } from '../../base/errors/index.ts';
import { tryPlainFile } from '../../base/files/index.ts';
import { append } from '../../base/lists/index.ts';
import { parseDocuments, textOf } from '../../base/schema/index.ts';
import type { Document, Problem } from '../../base/schema/index.ts';

/** The documents in order of file and position, a digest of every byte that was read, and the problems. */
export interface ReadFiles {
  readonly documents: readonly Document[];
  readonly problems: readonly Problem[];
  readonly digests: readonly { readonly name: string; readonly digest: string }[];
  readonly files: readonly string[];
  /** The text of each file that could be read. */
  readonly texts: readonly { readonly file: string; readonly text: string }[];
}

const maximumFileBytes = 1024 * 1024;

/**
 * Reads YAML and JSON files. From a folder it reads, sorted by name, the files that end in .yaml, .yml or
 * .json and do not begin with a dot.
 * @param standardInput the bytes of the path `-`; without them, `-` is the name of a file
 * @param fix what to do about a folder without such files
 */
export async function readPolicyFiles(
  paths: readonly string[],
  standardInput?: Uint8Array,
  fix = 'name a folder that contains one',
): Promise<ReadFiles> {
  const input = new Map<string, Uint8Array>(standardInput === undefined ? [] : [['-', standardInput]]);
  const problems: Problem[] = [];
  const documents: Document[] = [];
  const texts: { file: string; text: string }[] = [];
  const digests: { name: string; digest: string }[] = [];
  const filesOf = async (path: string): Promise<string[]> =>
    input.has(path) ? [path] : filesAt(path, fix, problems);
  const files = (await Promise.all(paths.map(filesOf))).flat();
  for (const file of new Set(files)) {
    const bytes = input.get(file) ?? (await bytesOf(file, problems));
    if (bytes === undefined) continue;
    digests.push({ name: basename(file), digest: createHash('sha256').update(bytes).digest('hex') });
    const read = textOf(file, bytes);
    if (!('text' in read)) {
      problems.push(read);
      continue;
    }
    texts.push({ file, text: read.text });
    const parsed = parseDocuments(read.text, file);
    append(documents, parsed.documents);
    append(problems, parsed.problems);
  }
  return { documents, problems, digests, files: [...new Set(files)], texts };
}

async function bytesOf(file: string, problems: Problem[]): Promise<Uint8Array | undefined> {
  try {
    const read = await tryPlainFile(file, maximumFileBytes);
    if ('bytes' in read) return read.bytes;
    if (read.refused === 'not a plain file') throw new Error('it is not a regular file');
    problems.push({
      position: { file, line: 0, column: 0 },
      path: '',
      message: `it is larger than ${maximumFileBytes} bytes`,
      fix: 'split it into several files of one folder',
      hidesOthers: true,
    });
  } catch (error) {
    problems.push(unreadable(file, error, 'name a readable file'));
  }
  return undefined;
}

async function filesAt(path: string, fix: string, problems: Problem[]): Promise<string[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [path];
    const names = (await readdir(path)).filter((name) => /^[^.].*\.(ya?ml|json)$/.test(name)).sort();
    if (names.length === 0)
      problems.push({
        // A folder has no lines.
        position: { file: path, line: 0, column: 0 },
        path: '',
        message: 'the folder contains no .yaml, .yml or .json file',
        fix,
      });
    return names.map((name) => join(path, name));
  } catch (error) {
    problems.push(unreadable(path, error, 'name a readable file or folder'));
    return [];
  }
}

function unreadable(file: string, error: unknown, fix: string): Problem {
  return {
    position: { file, line: 1, column: 1 },
    path: '',
    message: `cannot be read: ${fileReason(error, file)}`,
    fix,
    unread: true,
    hidesOthers: true,
  };
}
