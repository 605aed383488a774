import { createHash } from 'node:crypto';
import { mkdir, readdir, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isPortcullisError, reasonOf } from '../base/errors/index.ts';
import type { FolderContent, FolderFile } from './host-paths/folder-files.ts';
import type { HostPaths } from './host-paths/host-paths.ts';

/** A configuration folder on a file system that may not answer, and its copy on a disk of the daemon. */
export interface CopiedFolder {
  /**
   * Updates the copy to match the folder. Reads only the files that changed.
   * Without the folder, there is no copy.
   * @returns one sentence for each file that could not be copied; the last copy of such a file stays
   * @throws the errors of {@link HostPaths} if the folder cannot be listed: the copy stays as it was
   */
  follow(): Promise<readonly string[]>;
}

/**
 * Limit of one file. The copy of a larger file has one byte more than this, so that a reader of the copy
 * refuses it, too.
 */
const mostBytes = 16 * 1024 * 1024;
/** Limits of a folder; the readers of the folder have the same limits. */
const mostFiles = 65_536;
const mostOfFolder = 128 * 1024 * 1024;
/** Limits of one question, because the main thread reads its answer. */
const batch = { files: 64, bytes: 1024 * 1024 };

interface Copied {
  readonly version: string;
  readonly digest: string;
  /**
   * This version was seen twice. The clock of a file system ticks coarsely, so a change may leave the version
   * of a file the same.
   */
  readonly isSettled: boolean;
}

/** @param target the copy; its owner removes it */
export function createCopiedFolder(
  folder: string,
  target: string,
  paths: Pick<HostPaths, 'folderFiles' | 'folderContents'>,
): CopiedFolder {
  const have = new Map<string, Copied>();

  /**
   * The copy has matched the folder once. Before that, an empty folder would mean that no configuration is
   * wanted.
   */
  let isWhole = false;

  const put = async (name: string, text: string | undefined): Promise<void> => {
    await mkdir(dirname(join(target, name)), { recursive: true, mode: 0o700 });
    // Writes the file completely or not at all, under a draft name that no reader uses.
    const draft = join(target, '.draft');
    await writeFile(draft, text ?? '', { encoding: 'latin1', mode: 0o600 });
    if (text === undefined) await truncate(draft, mostBytes + 1);
    await rename(draft, join(target, name));
  };

  /** @returns why the file is not copied */
  const take = async ({ name, version }: FolderFile, content: FolderContent): Promise<string | undefined> => {
    const before = have.get(name);
    const problem = 'failed' in content ? content.failed : undefined;
    // A reader has to refuse the copy of a file that is unreadable or not a regular file. The file must not
    // look removed.
    const text = 'text' in content ? content.text : undefined;
    const digest = text === undefined ? '' : createHash('sha256').update(text, 'latin1').digest('hex');
    if (before === undefined || (problem === undefined && before.digest !== digest)) await put(name, text);
    if (problem === undefined) have.set(name, { version, digest, isSettled: before?.version === version });
    else have.set(name, { version: '', digest: before?.digest ?? '', isSettled: false });
    return problem === undefined ? undefined : `${name}: ${problem}`;
  };

  const copyChanged = async (files: readonly FolderFile[]): Promise<string[]> => {
    const changed = files.filter(({ name, version }) => {
      const before = have.get(name);
      return before?.version !== version || !before.isSettled;
    });
    const problems: string[] = [];
    for (const some of batches(changed)) {
      const contents = await paths.folderContents(
        folder,
        some.map(({ name }) => name),
        mostBytes,
      );
      for (const [index, file] of some.entries()) {
        const problem = await take(file, contents[index] ?? { failed: 'not read' });
        if (problem !== undefined) problems.push(problem);
      }
    }
    return problems;
  };

  const removeOthers = async (files: readonly FolderFile[]): Promise<void> => {
    const names = new Set(files.map(({ name }) => name));
    for (const name of have.keys())
      if (!names.has(name)) {
        await rm(join(target, name), { force: true });
        have.delete(name);
      }
    const uppermost = new Set(files.map(({ name }) => name.split('/', 1)[0]));
    for (const name of await readdir(target))
      if (!uppermost.has(name)) await rm(join(target, name), { recursive: true, force: true });
  };

  return {
    async follow() {
      const files = await paths.folderFiles(folder).catch(unlessMissing);
      if (files === undefined) {
        // Its readers decide what that means, as with a local folder. A copy that fails later is not whole.
        isWhole = false;
        have.clear();
        await rm(target, { recursive: true, force: true });
        return [];
      }
      const total = files.reduce((sum, { size }) => sum + Math.min(size, mostBytes), 0);
      try {
        if (files.length > mostFiles || total > mostOfFolder)
          throw new Error(`it contains more than ${mostFiles} files or ${mostOfFolder / 1024 / 1024} MiB`);
        await mkdir(target, { recursive: true, mode: 0o700 });
        const problems = await copyChanged(files);
        // Last: a renamed file is then never missing.
        await removeOthers(files);
        isWhole = true;
        return problems;
      } catch (thrown) {
        if (isPortcullisError(thrown) || !isWhole) throw thrown;
        return [`it cannot be copied: ${reasonOf(thrown)}`];
      }
    },
  };
}

/** @throws what is not the absence of the folder */
function unlessMissing(thrown: unknown): undefined {
  if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT') throw thrown;
}

function batches(files: readonly FolderFile[]): readonly (readonly FolderFile[])[] {
  const all: FolderFile[][] = [];
  let bytes = Infinity;
  for (const file of files) {
    const last = all.at(-1);
    if (last === undefined || last.length >= batch.files || bytes + file.size > batch.bytes) {
      all.push([file]);
      bytes = 0;
    } else last.push(file);
    bytes += file.size;
  }
  return all;
}
