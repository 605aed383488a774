import { constants } from 'node:os';
import { errnoIs, tolerate } from '../../errors/index.ts';
import { kernelError } from '../ffi/errno.ts';
import { glibc, lastErrno } from '../ffi/libc.ts';
import { DT_DIR, startDescent, subject } from './descent.ts';
import type { Descent } from './descent.ts';
import { AT_REMOVEDIR } from '../ffi/constants.ts';

const c = { unlinkat: glibc('unlinkat', 'int', ['int', 'void *', 'int']) };

const { ENOENT, EISDIR, ENOTEMPTY, EBUSY, EEXIST, EPERM } = constants.errno;
/** How often one folder is read again because names appear in it while it is emptied. */
const PASSES = 100;

/**
 * Removes `path` and everything below it. Succeeds if it does not exist. Walks by descriptors ({@link
 * startDescent}): a symbolic link is removed, not followed; a mount below (or at) the path causes EXDEV or
 * EBUSY, and nothing inside it is touched. Yields every few calls, so that the caller can do other work.
 */
export function* removeTree(path: string): Generator<void, void, void> {
  const start = tolerate(errnoIs('ENOENT', 'ENOTDIR'), () => startDescent(path));
  if (start === undefined) return;
  const { descent, name } = start;
  try {
    if (!remove(descent, name, 0, path)) {
      descent.enter(name);
      yield* empty(descent, path);
    }
  } finally {
    descent.close();
  }
}

function* empty(descent: Descent, path: string): Generator<void, void, void> {
  let passes = 0;
  for (let steps = 1; descent.depth > 0; steps++) {
    if (steps % 64 === 0) yield;
    const entry = descent.next();
    if (entry === undefined) {
      const left = descent.leave();
      if (removeFolder(descent, left, path)) {
        passes = 0;
      } else if (++passes > PASSES) {
        throw kernelError(
          'ENOTEMPTY',
          'remove tree',
          subject(path, left),
          'another program keeps writing into it',
        );
      } else {
        descent.enter(left);
      }
    } else if (!remove(descent, entry.name, entry.type, path)) {
      descent.enter(entry.name);
    }
  }
}

/** Removes a name of the current folder. Returns false if it is a folder that is not empty. */
function remove(descent: Descent, name: Buffer, type: number, path: string): boolean {
  if (type === DT_DIR) return removeFolder(descent, name, path);
  if (c.unlinkat(descent.fd, name, 0) !== -1) return true;
  const errno = lastErrno();
  if (errno === ENOENT) return true;
  // Linux returns EISDIR for a folder, some file systems EPERM.
  if (errno === EISDIR || (errno === EPERM && type === 0)) return removeFolder(descent, name, path);
  throw kernelError(errno, 'unlinkat', subject(path, name));
}

function removeFolder(descent: Descent, name: Buffer, path: string): boolean {
  if (c.unlinkat(descent.fd, name, AT_REMOVEDIR) !== -1) return true;
  const errno = lastErrno();
  if (errno === ENOENT) return true;
  if (errno === ENOTEMPTY || errno === EEXIST) return false;
  if (errno === EBUSY)
    throw kernelError(
      errno,
      'unlinkat',
      subject(path, name),
      'something is mounted there',
      'unmount it first',
    );
  throw kernelError(errno, 'unlinkat', subject(path, name));
}
