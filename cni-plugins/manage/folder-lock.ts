import { constants } from 'node:fs';
import { tryLockFile, withOpen } from '../../base/kernel/index.ts';

const pauseMs = 20;
const sleepCell = new Int32Array(new SharedArrayBuffer(4));

/**
 * Runs `body` while no other process runs one with the same folder. A creation holds the lock for some
 * milliseconds, but every user who may read a folder can lock it for ever. So `body` runs without the lock
 * when the wait is over, and also if the file system has no locks.
 * @param patienceMs longest wait for the lock, in ms
 * @throws the errors of opening the folder and of `body`
 */
export function withFolderLock<T>(folder: string, body: () => T, patienceMs = 2_000): T {
  return withOpen(folder, constants.O_RDONLY | constants.O_DIRECTORY, (fd) => {
    for (const late = performance.now() + patienceMs; !isLocked(fd) && performance.now() < late;)
      Atomics.wait(sleepCell, 0, 0, pauseMs);
    return body();
  });
}

/** Returns true if the lock was taken, or if there are no locks. */
function isLocked(fd: number): boolean {
  try {
    return tryLockFile(fd);
  } catch {
    return true;
  }
}
