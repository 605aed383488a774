import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileReason, isPortcullisError, reasonOf } from '../errors/index.ts';
import { storageFailure } from './failure.ts';
import { lockFile, lockFolder } from './folder-lock.ts';

/** A folder among the temporary files that only this process uses. It contains the file of its lock. */
export interface TemporaryFolder {
  readonly path: string;
  close(): Promise<void>;
}

/** A process locks its folder within a moment after it has created it. */
const youngMs = 60_000;
/** Versions that locked no folder may still use such a folder. */
const unlockedMs = 24 * 3_600_000;

/**
 * Creates the folder. Removes those with the same prefix that killed processes left: a folder of a process
 * that lives is locked, and the kernel releases the lock with the process. Without this, each kill would
 * leave another folder.
 * @param prefix of the name; six letters and digits follow
 * @throws PortcullisError STORAGE_DISK_FULL, and other codes of {@link storageFailure}
 */
export async function openTemporaryFolder(prefix: string, within = tmpdir()): Promise<TemporaryFolder> {
  await removeAbandoned(prefix, within);
  const path = await makeTemporaryFolder(prefix, within);
  try {
    const lock = await lockFolder(path);
    return {
      path,
      async close() {
        await rm(path, { recursive: true, force: true });
        lock.release();
      },
    };
  } catch (error) {
    await rm(path, { recursive: true, force: true });
    throw error;
  }
}

/**
 * Creates a folder that is not locked, and that nothing removes if the process is killed.
 * @param prefix of the name; six letters and digits follow
 * @throws PortcullisError STORAGE_DISK_FULL, and other codes of {@link storageFailure}
 */
export async function makeTemporaryFolder(prefix: string, within = tmpdir()): Promise<string> {
  return mkdtemp(join(within, prefix)).catch((error: unknown) => {
    throw storageFailure(error, 'create a folder for temporary files in', within, whyNoFolder(error, within));
  });
}

/** The message of Node names the folder that was to be created, and a system call. */
function whyNoFolder(thrown: unknown, within: string): string {
  const { code } = thrown as NodeJS.ErrnoException;
  // A file system without new folders, such as that of /proc, reports the new folder as missing.
  if (code === 'ENOENT' && existsSync(within)) return 'no folder can be created in it';
  return fileReason(Object.assign(new Error(reasonOf(thrown)), { code }), within);
}

/** Leaves what cannot be examined or removed: nothing depends on it, and the next start tries again. */
async function removeAbandoned(prefix: string, within: string): Promise<void> {
  const names = await readdir(within).catch(() => []);
  for (const name of names) {
    // As mkdtemp(3) ends a name.
    if (!name.startsWith(prefix) || !/^[A-Za-z0-9]{6}$/u.test(name.slice(prefix.length))) continue;
    const path = join(within, name);
    try {
      const { mtimeMs, uid } = await stat(path);
      const sparedMs = existsSync(join(path, lockFile)) ? youngMs : unlockedMs;
      if (uid !== process.getuid?.() || mtimeMs > Date.now() - sparedMs) continue;
      const lock = await lockFolder(path);
      await rm(path, { recursive: true, force: true });
      lock.release();
    } catch (thrown) {
      if (!isPortcullisError(thrown) && !(thrown instanceof Error && 'code' in thrown)) throw thrown;
    }
  }
}
