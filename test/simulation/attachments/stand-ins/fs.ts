import { attachmentsMachine, effect } from '../machine.ts';
import { opened } from './kernel.ts';

/**
 * Replaces `node:fs` in `database/database.ts`, `netns.ts` and `caller.ts`: the simulated machine's
 * namespaces, and the lock next to the database.
 */

interface Stat {
  readonly dev: number;
  readonly ino: number;
}

/** Flags of open(2), which the simulated machine does not read. */
export const constants = { O_NONBLOCK: 0 };

const namespaceFileSystem = 4;
const own: Stat = { dev: namespaceFileSystem, ino: 1 };

export function statSync(path: string, _options?: { readonly throwIfNoEntry: false }): Stat | undefined {
  if (path === '/proc/thread-self/ns/net') return own;
  const namespace = attachmentsMachine().host.namespace(path);
  return namespace && { dev: namespaceFileSystem, ino: namespace.ino };
}

export const fstatSync = (fd: number): Stat => ({ dev: namespaceFileSystem, ino: opened(fd).ino });

export function openSync(path: string): number {
  const failure = (errno: string): Error =>
    Object.assign(new Error(`${errno}: simulated, open '${path}'`), { code: errno, syscall: 'open' });
  return effect('read', 'opening of the lock', failure, () => 3);
}

export function closeSync(): void {
  // The simulated process has no descriptors of its own.
}

export function chmodSync(): void {
  // The simulated process has no files of its own.
}
