import { constants } from 'node:fs';
import { open, readFile, readdir, readlink, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { meansGone } from '../../base/errors/index.ts';
import { closeFd } from '../../base/kernel/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import { openProcess, signalOpened } from '../processes/processes.ts';

const SIGCONT = 18;
const SIGSTOP = 19;

/**
 * Returns the descriptor at which crun's first process waits for its start. Undefined if it no longer waits.
 */
async function gateOf(pid: number): Promise<string | undefined> {
  const folder = `/proc/${pid}/fd`;
  for (const name of await readdir(folder).catch(unlessGone<string[]>([]))) {
    const target = await readlink(join(folder, name)).catch(unlessGone(''));
    if (/\/exec\.fifo(?: \(deleted\))?$/u.test(target)) return join(folder, name);
  }
  return undefined;
}

/**
 * Reports whether a container's first process still waits for its start. crun reports `running` as soon as
 * the FIFO is removed, and an interrupted start may have ended at that point.
 */
export async function waitsForStart(init: ProcessIdentity | undefined): Promise<boolean> {
  return init !== undefined && (await gateOf(init.pid)) !== undefined;
}

/**
 * Finishes an interrupted start of crun, at whatever point it was interrupted. After a writer has opened and
 * closed the FIFO, the waiting process alternately polls for data and reads. If a writer opens the FIFO
 * between the poll and the read, the read fails (EAGAIN), and crun's process ends. Therefore the process is
 * stopped until there is data to read.
 * @param dir crun's folder for the container, below `--root`
 * @returns false when no process waits
 */
export async function resumeStart(dir: string, init: ProcessIdentity): Promise<boolean> {
  const path = await gateOf(init.pid);
  if (path === undefined) return false;
  // The descriptor stays open until the process continues: a stopped process must not stay stopped because no
  // descriptor is free for the second signal.
  const pidfd = openProcess(init);
  if (pidfd === undefined) return false;
  try {
    signalOpened(pidfd, SIGSTOP);
    await stopped(init.pid);
    const gate = await open(path, constants.O_WRONLY | constants.O_NONBLOCK);
    try {
      await unlink(join(dir, 'exec.fifo')).catch(() => undefined);
      await gate.write(Buffer.alloc(1));
    } finally {
      await gate.close();
    }
    return true;
  } finally {
    signalOpened(pidfd, SIGCONT);
    closeFd(pidfd);
  }
}

/**
 * Waits until the signal takes effect, which is a moment later. Returns early if the process no longer
 * exists.
 */
async function stopped(pid: number): Promise<void> {
  for (let turn = 0; turn < 1000; turn += 1) {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(unlessGone(''));
    const state = stat.slice(stat.lastIndexOf(')') + 2).charAt(0);
    if (state === 'T' || state === '') return;
    await pause(1);
  }
}

/**
 * Handles a failed read of a process: returns `value` if the process no longer exists, and rethrows any other
 * error.
 */
function unlessGone<Value>(value: Value): (cause: unknown) => Value {
  return (cause) => {
    if (meansGone(cause)) return value;
    throw cause;
  };
}
