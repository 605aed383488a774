import { constants } from 'node:fs';
import { open, readFile, readdir, readlink, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { closeFd } from '../../base/kernel/index.ts';
import { meansGone } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import { openProcess, signalOpened } from '../monitor/processes.ts';

const SIGCONT = 18;
const SIGSTOP = 19;

/** The descriptor at which crun's first process waits for its start; undefined: it waits no more. */
async function gateOf(pid: number): Promise<string | undefined> {
  const folder = `/proc/${pid}/fd`;
  for (const name of await readdir(folder).catch(unlessGone<string[]>([]))) {
    const target = await readlink(join(folder, name)).catch(unlessGone(''));
    if (/\/exec\.fifo(?: \(deleted\))?$/u.test(target)) return join(folder, name);
  }
  return undefined;
}

/**
 * Whether a container's first process has not been let go yet. crun calls it `running` as soon as the FIFO is gone; a start that was cut off
 * may have come no further than that.
 */
export async function waitsForStart(init: ProcessIdentity | undefined): Promise<boolean> {
  return init !== undefined && (await gateOf(init.pid)) !== undefined;
}

/**
 * Finishes what crun's start had begun when it was cut off, wherever that was. Once a writer has come and gone, the waiting process asks in turn
 * whether there is something to read and reads; a writer that opens between the two makes that reading fail (EAGAIN), and crun's process ends.
 * So it is stopped until there is something to read.
 * @param dir what crun keeps of the container: its folder below `--root`
 * @returns false when nobody waits
 */
export async function resumeStart(dir: string, init: ProcessIdentity): Promise<boolean> {
  const path = await gateOf(init.pid);
  if (path === undefined) return false;
  // Open until it is let go: a process that was stopped must not stay so because no descriptor is free for the second signal.
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

/** The signal is heeded a moment later. A process that is gone is none. */
async function stopped(pid: number): Promise<void> {
  for (let turn = 0; turn < 1000; turn += 1) {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
    const state = stat.slice(stat.lastIndexOf(')') + 2).charAt(0);
    if (state === 'T' || state === '') return;
    await pause(1);
  }
}

/** For a failed read of a process: `value` when that is gone; whatever else happened is thrown on. */
function unlessGone<Value>(value: Value): (cause: unknown) => Value {
  return (cause) => {
    if (meansGone(cause)) return value;
    throw cause;
  };
}
