import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isPortcullisError } from '../../base/errors/index.ts';
import { lockFolder } from '../../base/storage/index.ts';

/** A folder among the temporary files that only this process uses. */
export interface TemporaryFolder {
  readonly path: string;
  close(): Promise<void>;
}

const prefix = 'portcullis-webhook-';
/** As mkdtemp(3) ends a name. */
const made = /^portcullis-webhook-[A-Za-z0-9]{6}$/u;
/** A process locks its folder within a moment after it has created it. */
const youngMs = 60_000;

/**
 * Creates the folder. Removes those that killed processes left: a folder of a process that lives is locked,
 * and the kernel releases the lock with the process. A container that is restarted keeps its files, and each
 * kill would leave another folder.
 * @throws STORAGE_… when the folder cannot be locked; the system's error when it cannot be created
 */
export async function openTemporaryFolder(within = tmpdir()): Promise<TemporaryFolder> {
  await removeAbandoned(within);
  const path = await mkdtemp(join(within, prefix));
  const lock = await lockFolder(path);
  return {
    path,
    async close() {
      await rm(path, { recursive: true, force: true });
      lock.release();
    },
  };
}

/** Leaves what cannot be examined or removed: nothing depends on it, and the next start tries again. */
async function removeAbandoned(within: string): Promise<void> {
  const names = await readdir(within).catch(() => []);
  for (const name of names.filter((one) => made.test(one))) {
    const path = join(within, name);
    try {
      const { mtimeMs, uid } = await stat(path);
      if (uid !== process.getuid?.() || mtimeMs > Date.now() - youngMs) continue;
      const lock = await lockFolder(path);
      await rm(path, { recursive: true, force: true });
      lock.release();
    } catch (thrown) {
      if (!isPortcullisError(thrown) && !(thrown instanceof Error && 'code' in thrown)) throw thrown;
    }
  }
}
