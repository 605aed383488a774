import { basename, dirname } from 'node:path';
import { PortcullisError } from '../../base/errors/index.ts';
import {
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  RESOLVE_NO_XDEV,
  cachedFile,
  closeFd,
  isErrno,
  openFile,
  openInRootIfThere,
} from '../../base/kernel/index.ts';

/**
 * A folder may lie on a file system whose server is dead, and whoever touches it then waits for ever. So a thread that cannot be lost reads the
 * folder itself only on a device that is known to need nobody. From anywhere else it reads a copy on the daemon's own disk, which the main thread
 * keeps by processes that can be lost. The two share an array: nobody waits for the other.
 */
export interface GatedFolder {
  readonly folder: string;
  /** Where its files are copied. */
  readonly copy: string;
  /** What the keeper of the copy knows: see {@link folderState}. */
  readonly state: Int32Array;
}

const [noAnswer, copied, direct] = [0, 1, 2];

/** A gate that is closed until its keeper has looked. */
export function makeGate(folder: string, copy: string): GatedFolder {
  return { folder, copy, state: new Int32Array(new SharedArrayBuffer(3 * Int32Array.BYTES_PER_ELEMENT)) };
}

/** What its keeper saw: nobody answered, the copy is what the folder has, or the device on which the folder can be read by anyone. */
export function setGate({ state }: GatedFolder, seen: 'no answer' | 'copied' | { readonly device: string }): void {
  if (typeof seen === 'string') return void Atomics.store(state, 0, seen === 'copied' ? copied : noAnswer);
  const [major = 0, minor = 0] = seen.device.split(':').map(Number);
  Atomics.store(state, 1, major);
  Atomics.store(state, 2, minor);
  Atomics.store(state, 0, direct);
}

/**
 * Where the files of a folder can be read without waiting for anybody. Synchronous, and never waits itself.
 * @throws NETWORK_FOLDER_NO_ANSWER
 */
function throughGate({ folder, copy, state }: GatedFolder): string {
  const seen = Atomics.load(state, 0);
  if (seen === copied) return copy;
  const device = `${Atomics.load(state, 1)}:${Atomics.load(state, 2)}`;
  if (seen === direct && deviceOf(folder, (each) => each === device) === device) return folder;
  throw new PortcullisError({
    code: 'NETWORK_FOLDER_NO_ANSWER',
    kind: 'unavailable',
    attempted: 'read the files of',
    on: folder,
    why: seen === direct ? 'another file system was mounted there a moment ago' : 'its file system does not answer',
    fix: 'see whether its server answers (`mount`, `ls` in the folder), or unmount it: `umount --lazy --force`; it is looked at again each second',
  });
}

/** Where a folder is read at each look: through its gate, where there is one. */
export function readableAt(folder: string, gates: readonly GatedFolder[] = []): () => string {
  const gate = gates.find((each) => each.folder === folder);
  return gate === undefined ? () => folder : () => throughGate(gate);
}

/**
 * The device that holds a path, or the nearest folder above it that is there, by the kernel's caches. What these do not know is asked of file
 * systems that need nobody, name by name.
 * @param needsNobody of a device, as MAJOR:MINOR
 * @returns undefined: not known
 */
export function deviceOf(path: string, needsNobody: (device: string) => boolean): string | undefined {
  for (let asked = 0; asked < mostNames; asked += 1) {
    let unknown: string | undefined;
    let holder: string | undefined;
    for (let at = path; holder === undefined; at = dirname(at)) {
      const found = cachedFile(at, { followLink: true });
      if (found === undefined) unknown = at;
      else if (found !== 'missing') holder = found.device;
      if (at === dirname(at)) break;
    }
    if (unknown === undefined || holder === undefined || !needsNobody(holder)) return unknown === undefined ? holder : undefined;
    const asks = askName(unknown);
    if (asks === 'missing') return holder;
    if (asks === 'mounted') return undefined;
    if (cachedFile(unknown, { followLink: true }) === undefined) return undefined;
  }
  return undefined;
}

const mostNames = 64;

/**
 * Asks the file system of a folder for a name in it, which the kernel's caches know from then on. A link is not followed, and what is mounted there is
 * not touched: the caches say nothing of it either, for the moment of a race.
 */
function askName(path: string): 'missing' | 'mounted' | 'there' {
  const folder = openFile(dirname(path), O_PATH | O_DIRECTORY);
  try {
    const fd = openInRootIfThere(folder, basename(path), { flags: O_PATH | O_NOFOLLOW, resolve: RESOLVE_NO_XDEV });
    if (fd === undefined) return 'missing';
    closeFd(fd);
    return 'there';
  } catch (thrown) {
    if (isErrno(thrown, 'EXDEV')) return 'mounted';
    throw thrown;
  } finally {
    closeFd(folder);
  }
}
