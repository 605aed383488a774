import { randomBytes } from 'node:crypto';
import { constants, existsSync, renameSync, rmSync } from 'node:fs';
import { link, open, readdir, rename, rm, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileReason } from '../errors/index.ts';
import { storageFailure } from './failure.ts';

/** Options of {@link writeFileAtomic}. */
export interface AtomicWriteOptions {
  /** Default 0600, regardless of the umask. */
  readonly mode?: number;
  /** Default: the user and the group of this process. */
  readonly owner?: { readonly uid: number; readonly gid: number };
  /** False omits both fsyncs: the file is still atomic for readers, but not across a power failure. */
  readonly durable?: boolean;
}

/**
 * Replaces a file completely or not at all: it writes a temporary file beside it, then fsync, rename, fsync
 * of the folder. A reader sees either the old or the new bytes.
 * @throws PortcullisError STORAGE_DISK_FULL, STORAGE_READ_ONLY, STORAGE_NO_ACCESS, STORAGE_IO; the old file
 * is then unchanged, unless only the fsync of the folder failed: then the new file has its name, and the old
 * one may return after a power failure
 */
export async function writeFileAtomic(
  path: string,
  data: string | Uint8Array,
  { mode = 0o600, owner, durable = true }: AtomicWriteOptions = {},
): Promise<void> {
  await place(path, data, { mode, owner, durable, publish: (temporary) => rename(temporary, path) });
}

/**
 * Replaces files that belong together, each like {@link writeFileAtomic}, in the given order. The first gets
 * its name when all are written, and the others get theirs at once after it: a disk that is full leaves all
 * old files, and a kill between them is improbable. If a file cannot be replaced, names that did not exist
 * before the call are removed again.
 * @throws PortcullisError like {@link writeFileAtomic}, for the file that failed
 */
export async function writeFilesAtomic(
  files: readonly { readonly path: string; readonly bytes: Uint8Array }[],
  { mode = 0o600 }: { readonly mode?: number } = {},
): Promise<void> {
  const written: { readonly path: string; readonly temporary: string }[] = [];
  let path = '';
  try {
    for (const file of files) {
      path = file.path;
      const temporary = temporaryOf(path);
      written.push({ path, temporary });
      await writeTemporary(temporary, file.bytes, { mode, owner: undefined, durable: true });
    }
    const added: string[] = [];
    try {
      for (const file of written) {
        path = file.path;
        const isNew = !existsSync(path);
        renameSync(file.temporary, path);
        if (isNew) added.push(path);
      }
    } catch (thrown) {
      for (const each of added) rmSync(each, { force: true });
      throw thrown;
    }
    for (const folder of new Set(written.map((file) => dirname(file.path)))) await syncFolder(folder);
  } catch (error) {
    for (const { temporary } of written) await unlink(temporary).catch(() => undefined);
    throw storageFailure(error, 'write file', path, fileReason(error, path));
  }
}

/**
 * Creates a file completely or not at all, and never replaces another one: like {@link writeFileAtomic}, with
 * {@link giveNewName} in place of rename. A link with that name also counts as an existing file.
 * @returns false if a file of that name exists, which is then unchanged
 * @throws PortcullisError STORAGE_DISK_FULL, STORAGE_READ_ONLY, STORAGE_NO_ACCESS, STORAGE_IO; nothing is
 * then left, unless only the fsync of the folder failed: then the file exists, and may be gone after a power
 * failure
 */
export async function createFileAtomic(
  path: string,
  data: string | Uint8Array,
  { mode = 0o600 }: { readonly mode?: number } = {},
): Promise<boolean> {
  let created = true;
  const publish = async (temporary: string): Promise<void> => {
    try {
      await giveNewName(temporary, path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      created = false;
    }
    await rm(temporary, { force: true });
  };
  await place(path, data, { mode, owner: undefined, durable: true, publish });
  return created;
}

/** Errors of link(2) on a file system without hard links, such as FAT. */
const noLinks: ReadonlySet<string> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']);

/**
 * Gives a complete file a name that nothing else has. `temporary` may keep its name as well. On a file system
 * without hard links, an empty file has the name for a moment.
 * @throws the system's error: EEXIST if a file or a link has that name
 */
export async function giveNewName(temporary: string, path: string): Promise<void> {
  try {
    await link(temporary, path);
  } catch (error) {
    if (!noLinks.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
    // A rename would replace a file that another process creates meanwhile.
    await (await open(path, 'wx')).close();
    try {
      await rename(temporary, path);
    } catch (failed) {
      await unlink(path);
      throw failed;
    }
  }
}

interface Placement {
  readonly mode: number;
  readonly owner: AtomicWriteOptions['owner'] | undefined;
  readonly durable: boolean;
  /** Gives the complete temporary file its name. */
  readonly publish: (temporary: string) => Promise<void>;
}

async function place(
  path: string,
  data: string | Uint8Array,
  { mode, owner, durable, publish }: Placement,
): Promise<void> {
  const temporary = temporaryOf(path);
  try {
    await writeTemporary(temporary, data, { mode, owner, durable });
    await publish(temporary);
    if (durable) await syncFolder(dirname(path));
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw storageFailure(error, 'write file', path, fileReason(error, path));
  }
}

const temporaryOf = (path: string): string =>
  join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);

async function writeTemporary(
  temporary: string,
  data: string | Uint8Array,
  { mode, owner, durable }: Omit<Placement, 'publish'>,
): Promise<void> {
  const file = await open(
    temporary,
    constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
    mode,
  );
  try {
    await file.writeFile(data);
    if (owner !== undefined) await file.chown(owner.uid, owner.gid);
    await file.chmod(mode);
    if (durable) await file.sync();
  } finally {
    await file.close();
  }
}

/**
 * Removes temporary files that killed writers of this file left beside it. Only for the file's only writer,
 * before it writes.
 */
export async function dropAbandonedWrites(path: string): Promise<void> {
  const [folder, prefix] = [dirname(path), `.${basename(path)}.`];
  const isOurs = (name: string): boolean =>
    name.startsWith(prefix) && /^[0-9a-f]{12}\.tmp$/.test(name.slice(prefix.length));
  try {
    for (const name of (await readdir(folder)).filter(isOurs)) await unlink(join(folder, name));
  } catch (error) {
    throw storageFailure(error, 'clean up beside file', path);
  }
}

/** A write takes milliseconds. A temporary file of this age is abandoned. */
const abandonedMs = 600_000;

/**
 * Removes temporary files that killed writers left in a folder that several processes may write to: only
 * files older than ten minutes. Ignores a folder that cannot be read and a file that cannot be removed,
 * because nothing depends on them.
 */
export async function dropOldAbandonedWrites(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => [] as string[]);
  for (const name of names.filter((each) => /^\..+\.[0-9a-f]{12}\.tmp$/.test(each))) {
    const path = join(folder, name);
    const found = await stat(path).catch(() => undefined);
    if (found?.isFile() === true && found.mtimeMs < Date.now() - abandonedMs)
      await unlink(path).catch(() => undefined);
  }
}

/**
 * Makes the names in a folder durable: of files that were created, renamed or removed in it.
 * @throws the system's error
 */
export async function syncFolder(folder: string): Promise<void> {
  await using handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  await handle.sync();
}
