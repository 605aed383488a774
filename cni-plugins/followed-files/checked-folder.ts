import { PortcullisError, meansShortage } from '../../base/errors/index.ts';
import { deviceOf } from './cached-device.ts';
import { leadsElsewhere } from './folder-links.ts';

/**
 * A folder may be on a file system whose server is dead. A thread that touches it then blocks for ever.
 * Therefore a thread that must not be lost reads the folder itself only on a device that is known to depend
 * on no server. Otherwise it reads a copy on the daemon's own disk. The main thread maintains that copy
 * through processes that may be lost. Both sides share an array, so neither waits for the other.
 */
export interface CheckedFolder {
  readonly folder: string;
  /** The folder into which the files are copied. */
  readonly copy: string;
  /**
   * The state of the folder, as known to the main thread, which maintains the copy: `noAnswer`, `copied` or
   * `direct`, then the device's major and minor number.
   */
  readonly state: Int32Array;
}

const [noAnswer, copied, direct] = [0, 1, 2];

/** Creates the shared state of a folder, which cannot be read until the main thread has looked at it. */
export function createCheckedFolder(folder: string, copy: string): CheckedFolder {
  return { folder, copy, state: new Int32Array(new SharedArrayBuffer(3 * Int32Array.BYTES_PER_ELEMENT)) };
}

/**
 * Records what the main thread saw: no answer, a copy that is up to date, or the device on which any thread
 * can read the folder.
 */
export function setFolderState(
  { state }: CheckedFolder,
  seen: 'no answer' | 'copied' | { readonly device: string },
): void {
  if (typeof seen === 'string') return void Atomics.store(state, 0, seen === 'copied' ? copied : noAnswer);
  const [major = 0, minor = 0] = seen.device.split(':').map(Number);
  Atomics.store(state, 1, major);
  Atomics.store(state, 2, minor);
  Atomics.store(state, 0, direct);
}

/**
 * Returns the path at which the files of a folder can be read without blocking. Synchronous, and never blocks
 * itself.
 * @throws NETWORK_FOLDER_NO_ANSWER; an error of the system without descriptors or memory
 */
function readablePath({ folder, copy, state }: CheckedFolder): string {
  const seen = Atomics.load(state, 0);
  if (seen === copied) return copy;
  const device = `${Atomics.load(state, 1)}:${Atomics.load(state, 2)}`;
  if (seen === direct && deviceOf(folder, (each) => each === device) === device && staysThere(folder, device))
    return folder;
  throw new PortcullisError({
    code: 'NETWORK_FOLDER_NO_ANSWER',
    kind: 'unavailable',
    attempted: 'read the files of',
    on: folder,
    why:
      seen === direct
        ? 'it, or a link in it, now leads to another file system, which was not checked yet'
        : 'its file system does not answer',
    fix: 'check that its server answers (`mount`, `ls` in the folder), or unmount it: `umount --lazy --force`; it is checked again every second',
  });
}

/**
 * Returns false if the folder cannot be listed, because its contents are unknown then.
 * @throws the system's Error without descriptors or memory, which says nothing about the folder
 */
function staysThere(folder: string, device: string): boolean {
  try {
    return !leadsElsewhere(folder, device);
  } catch (thrown) {
    if (meansShortage(thrown)) throw thrown;
    return false;
  }
}

/** Returns a function for the path at which a folder is read each time. */
export function readableAt(folder: string, checkedFolders: readonly CheckedFolder[] = []): () => string {
  const checked = checkedFolders.find((each) => each.folder === folder);
  return checked === undefined ? () => folder : () => readablePath(checked);
}
