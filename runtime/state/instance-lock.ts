import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { parseJson } from '../../base/json/index.ts';
import { PortcullisError, meansGone } from '../../base/errors/index.ts';
import { tryLockFile } from '../../base/kernel/index.ts';
import { sameProcess } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import { dropAbandonedWrites } from '../../base/storage/index.ts';

/**
 * Claims the folders of a daemon for this process, until the returned function is called or the process ends
 * in any way. The claim is flock(2) on the folder itself. If several daemons start at once, the kernel lets
 * one pass. Nothing stale is left behind, and no file is written, so it works on a full disk.
 * @throws PortcullisError RUNTIME_ROOT_IN_USE
 */
export async function claimFolders(folders: {
  readonly root: string;
  readonly state: string;
}): Promise<() => void> {
  const held: number[] = [];
  const release = (): void => {
    for (const fd of held.splice(0)) closeSync(fd);
  };
  try {
    for (const folder of new Set([folders.root, folders.state])) held.push(claim(folder));
    await endFormerClaim(folders.root);
    return release;
  } catch (error) {
    release();
    throw error;
  }
}

function claim(folder: string): number {
  const fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    if (!tryLockFile(fd)) throw inUse(folder, holderOf(fd));
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/**
 * Earlier versions wrote their process into a file. The claim of a process that still lives is respected, and
 * the file of a dead process is removed.
 */
async function endFormerClaim(root: string): Promise<void> {
  const file = join(root, 'daemon.json');
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    if (meansGone(cause)) return '';
    throw cause;
  });
  const holder = holderIn(text);
  if (holder !== undefined && holder.pid !== process.pid && sameProcess(holder))
    throw inUse(root, holder.pid);
  await dropAbandonedWrites(file);
  await rm(file, { force: true });
}

/**
 * Returns the process that holds the lock, as in proc_locks(5). Undefined if it lives in a PID namespace that
 * is not visible from here.
 */
function holderOf(fd: number): number | undefined {
  const { dev, ino } = fstatSync(fd, { bigint: true });
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & 0xfffff000n);
  const minor = (dev & 0xffn) | ((dev >> 12n) & 0xffffff00n);
  const place = `${hex(major)}:${hex(minor)}:${ino}`;
  const line = readFileSync('/proc/locks', 'utf8')
    .split('\n')
    .map((text) => text.trim().split(/\s+/))
    .find((fields) => fields[1] === 'FLOCK' && fields[5] === place);
  const pid = Number(line?.[4]);
  return pid > 0 ? pid : undefined;
}

const hex = (number: bigint): string => number.toString(16).padStart(2, '0');

function inUse(folder: string, pid: number | undefined): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_ROOT_IN_USE',
    kind: 'already-exists',
    attempted: 'start the daemon on',
    on: folder,
    why: pid === undefined ? 'another process uses it' : `process ${pid} uses it`,
    fix: 'stop that daemon, or start this daemon with another --root and --state',
  });
}

/** Not synced when written: a power failure may leave it empty. */
function holderIn(text: string): ProcessIdentity | undefined {
  try {
    return parseJson(text) as ProcessIdentity;
  } catch {
    return undefined;
  }
}
