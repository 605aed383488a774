import { readFileSync, readdirSync } from 'node:fs';
import { attempt } from '../errors/index.ts';

/**
 * Sends SIGKILL to a child that was not reaped yet, and to all its descendants. The descendants are collected
 * before the first of them dies, because orphans cannot be found by their parent. Each is stopped before its
 * children are listed, because a stopped process starts no more of them. Waits at most 20 ms until all are.
 * @param pid if it leads a process group, all of the group are killed
 * @param proc where proc(5) is mounted
 */
export function killTree(pid: number, proc = '/proc'): void {
  const stopped = new Set<number>();
  let complete = false;
  for (let pass = 0; !complete && pass < mostPasses; pass += 1) {
    const before = stopped.size;
    let allStopped = true;
    const seen = new Set([pid]);
    // The loop also visits the processes that are added in it.
    for (const each of seen) {
      if (!stopped.has(each)) signal(each, 'SIGSTOP');
      stopped.add(each);
      // The states are read before the children, so that a stopped thread cannot start one in between.
      allStopped = threadsAreStopped(each, proc) && allStopped;
      for (const child of childrenOf(each, proc)) seen.add(child);
    }
    complete = allStopped && pass > 0 && before === stopped.size;
    // A signal takes effect when the kernel runs the thread next, which takes time on a busy machine.
    if (!allStopped) Atomics.wait(sleepCell, 0, 0, pauseMs);
  }
  for (const each of [-pid, ...stopped]) signal(each, 'SIGKILL');
}

const sleepCell = new Int32Array(new SharedArrayBuffer(4));

/** Limit, for a tree that changes all the time or has a thread that cannot stop. */
const mostPasses = 20;
const pauseMs = 1;

function signal(pid: number, name: 'SIGKILL' | 'SIGSTOP'): void {
  // The process may have ended in the meantime.
  attempt(() => process.kill(pid, name));
}

/** proc(5), /proc/PID/stat: returns whether each thread is stopped or has ended. */
function threadsAreStopped(pid: number, proc: string): boolean {
  const tasks = `${proc}/${pid}/task`;
  return read(() => readdirSync(tasks), []).every((thread) => {
    const stat = read(() => readFileSync(`${tasks}/${thread}/stat`, 'latin1'), '');
    // The name of the program before the state may contain parentheses.
    const state = stat.charAt(stat.lastIndexOf(')') + 2);
    return stat === '' || 'TtZX'.includes(state);
  });
}

/** proc(5), /proc/PID/task/TID/children: lists the children that each thread started. */
function childrenOf(pid: number, proc: string): number[] {
  const tasks = `${proc}/${pid}/task`;
  return read(() => readdirSync(tasks), []).flatMap((thread) =>
    // A thread that has ended has no file. Those of the others still count.
    read(() => readFileSync(`${tasks}/${thread}/children`, 'utf8'), '')
      .split(' ')
      .filter((text) => text.trim() !== '')
      .map(Number),
  );
}

function read<T>(attempt: () => T, otherwise: T): T {
  try {
    return attempt();
  } catch {
    return otherwise;
  }
}
