import { lockFolder, makeFolderSync } from '../../../base/storage/index.ts';
import type { Owner } from './owner.types.ts';

/** Others are done in a moment, or wait for a passphrase. */
const waitMs = 10_000;

/**
 * An owner each of whose changes has the collection's working folder to itself: what two commands read, change and write at one moment would
 * lose the changes of one. Reading takes nothing.
 * @throws STORAGE_IN_USE from each change, when another still has the folder after ten seconds
 */
export function changingAlone(owner: Owner, folder: string): Owner {
  const alone =
    <A extends readonly unknown[], R>(change: (...words: A) => Promise<R>) =>
    async (...words: A): Promise<R> => {
      // Collections may be handed on: only keys are secret.
      makeFolderSync(folder, 0o755);
      const lock = await lockFolder(folder, waitMs);
      try {
        return await change(...words);
      } finally {
        lock.release();
      }
    };
  return {
    ...owner,
    init: alone(owner.init),
    stage: alone(owner.stage),
    rotate: alone(owner.rotate),
    rotateToServer: alone(owner.rotateToServer),
    delegate: alone(owner.delegate),
    publish: alone(owner.publish),
    witness: alone(owner.witness),
  };
}
