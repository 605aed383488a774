import { readFile } from 'node:fs/promises';
import { sameProcess } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import type { ShimConnections } from './connections.ts';
import { reportExit } from './stand-in.ts';
import { isTimeout, probe } from './unresponsive-shim.ts';

/** The shim of a pod that ends counts as hung sooner than others: only processes that end depend on it. */
const endingMs = 5_000;
const killMs = 2_000;
const killed = 128 + 9;

/** Ends what depends on a shim that does not answer, without waiting for the usual time-out. */
export interface HungShims {
  /** Whether the shim of a pod that ends does not answer. A shim that has ended does not hang. */
  isHung(folder: string): Promise<boolean>;
  /**
   * Reports the end of a task that got SIGKILL, if it has ended and the shim does not answer. The shim, and
   * its other tasks, go on. Never rejects.
   * @param task the first process of the task
   */
  reportKilled(id: string, bundle: string, task: ProcessIdentity): Promise<void>;
}

/** @param isFollowed whether the end of a task is not reported yet */
export function createHungShims(
  { apiOf }: Pick<ShimConnections, 'apiOf'>,
  isFollowed: (id: string) => boolean,
): HungShims {
  const looking = new Set<string>();
  const isSilent = async (folder: string, timeoutMs: number): Promise<boolean> => {
    try {
      const api = await apiOf(folder);
      await api?.connect(probe, { timeoutMs });
      return false;
    } catch (thrown) {
      return isTimeout(thrown);
    }
  };
  return {
    isHung: (folder) => isSilent(folder, endingMs),
    reportKilled: async (id, bundle, task) => {
      if (looking.has(id)) return;
      looking.add(id);
      try {
        if (!(await isSilent(bundle, killMs)) || !isFollowed(id) || sameProcess(task)) return;
        await reportExit(bundle, {
          code: await exitCodeOf(task),
          finishedAt: (BigInt(Date.now()) * 1_000_000n).toString(),
        });
      } catch {
        // The stop repeats SIGKILL, and this with it.
      } finally {
        looking.delete(id);
      }
    },
  };
}

/** Returns the exit code that the kernel keeps until the shim reads it (proc_pid_stat(5), field 52). */
async function exitCodeOf({ pid, startTime }: ProcessIdentity): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  const fields = stat
    .slice(stat.lastIndexOf(')') + 2)
    .trim()
    .split(' ');
  if (fields[19] !== startTime) return killed;
  const status = Number(fields.at(-1));
  return (status & 0x7f) === 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f);
}
