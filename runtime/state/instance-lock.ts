import { closeSync, constants, fstatSync, openSync, readFileSync, rmSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseJson } from '../../base/json/index.ts';
import { attempt, meansGone, PortcullisError } from '../../base/errors/index.ts';
import { tryLockFile } from '../../base/kernel/index.ts';
import { processIdentity, sameProcess } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import { dropAbandonedWrites } from '../../base/storage/index.ts';

/**
 * Claims the folders of a daemon for this process, until the returned function is called or the process ends
 * in any way. The claim is flock(2) on the folder itself. If several daemons start at once, the kernel lets
 * one pass, also on a full disk. A file in the root names the process, for copies of the root.
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
    await refuseCopy(folders.root);
    return () => {
      // While the lock is held, so that the file of the next daemon stays.
      if (held.length > 0) removeProcessFile(folders.root);
      release();
    };
  } catch (error) {
    release();
    throw error;
  }
}

/** The file in the root that names the process that uses it. */
const processFile = 'daemon.json';

function removeProcessFile(root: string): void {
  // A stale file does no harm: its process has ended.
  attempt(() => rmSync(join(root, processFile), { force: true }));
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
 * Refuses a folder that is a copy of the root of a running daemon: its records name the containers of that
 * daemon, which a daemon on the copy would end or take over. Then writes this process into the file that a
 * copy contains. If the disk is full, the file is absent.
 */
async function refuseCopy(root: string): Promise<void> {
  const file = join(root, processFile);
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    if (meansGone(cause)) return '';
    throw cause;
  });
  const holder = holderIn(text);
  if (holder !== undefined && holder.pid !== process.pid && sameProcess(holder))
    throw inUse(root, holder.pid, `process ${holder.pid} uses it, or the folder of which it is a copy`);
  await dropAbandonedWrites(file);
  await rm(file, { force: true });
  await writeFile(file, JSON.stringify(processIdentity(process.pid)), { mode: 0o600 }).catch(() => undefined);
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

function inUse(
  folder: string,
  pid: number | undefined,
  why = pid === undefined ? 'another process uses it' : `process ${pid} uses it`,
): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_ROOT_IN_USE',
    kind: 'already-exists',
    attempted: 'start the daemon on',
    on: folder,
    why,
    fix: 'stop that daemon, or start this daemon with another --root and --state',
  });
}

/** Not synced when written: a power failure may leave it empty, or damaged. */
function holderIn(text: string): ProcessIdentity | undefined {
  const holder = attempt(() => parseJson(text) as ProcessIdentity | null);
  return typeof holder?.pid === 'number' ? holder : undefined;
}
