import { lockFolder, makeFolderSync } from '../../base/storage/index.ts';
import type { Owner } from './owner.types.ts';

/** How long a change waits for the folder. Other changes finish within a moment, or wait for a passphrase. */
const waitMs = 10_000;

/**
 * Returns an owner that holds the collection's working folder exclusively during each change. Without that,
 * two commands that read, change and write at the same time would lose the changes of one of them. Reading
 * takes no lock.
 * @throws from each change: STORAGE_IN_USE when another process still holds the folder after ten seconds, and
 * TRUST_AUTHOR_WORKING_FOLDER when the collection does not exist, except from `init`
 */
export function withExclusiveChanges(owner: Owner, folder: string): Owner {
  const begun =
    <A extends readonly unknown[], R>(change: (...words: A) => Promise<R>) =>
    async (...words: A): Promise<R> => {
      // Other users may read the collections: only keys are secret.
      makeFolderSync(folder, 0o755);
      const lock = await lockFolder(folder, waitMs);
      try {
        return await change(...words);
      } finally {
        lock.release();
      }
    };
  /** A misspelled name must not leave a folder behind. */
  const alone =
    <A extends readonly unknown[], R>(change: (...words: A) => Promise<R>) =>
    async (...words: A): Promise<R> => {
      await owner.settings();
      return begun(change)(...words);
    };
  return {
    ...owner,
    init: begun(owner.init),
    stage: alone(owner.stage),
    unstage: alone(owner.unstage),
    exclusively: (act) => alone(() => act(owner))(),
    rotate: alone(owner.rotate),
    rotateToServer: alone(owner.rotateToServer),
    delegate: alone(owner.delegate),
    publish: alone(owner.publish),
    witness: alone(owner.witness),
  };
}
