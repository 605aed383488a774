import { PortcullisError } from '../../base/errors/index.ts';
import { deviceOf } from './cached-device.ts';
import { leadsElsewhere } from './folder-links.ts';

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
  if (seen === direct && deviceOf(folder, (each) => each === device) === device && staysThere(folder, device)) return folder;
  throw new PortcullisError({
    code: 'NETWORK_FOLDER_NO_ANSWER',
    kind: 'unavailable',
    attempted: 'read the files of',
    on: folder,
    why: seen === direct ? 'since a moment ago it, or a link in it, leads to another file system' : 'its file system does not answer',
    fix: 'see whether its server answers (`mount`, `ls` in the folder), or unmount it: `umount --lazy --force`; it is looked at again each second',
  });
}

/** Where it cannot be listed, nobody knows what is in it. */
function staysThere(folder: string, device: string): boolean {
  try {
    return !leadsElsewhere(folder, device);
  } catch {
    return false;
  }
}

/** Where a folder is read at each look: through its gate, where there is one. */
export function readableAt(folder: string, gates: readonly GatedFolder[] = []): () => string {
  const gate = gates.find((each) => each.folder === folder);
  return gate === undefined ? () => folder : () => throughGate(gate);
}
