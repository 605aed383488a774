import { readFileSync, readdirSync } from 'node:fs';

/**
 * Sends SIGKILL to a child that was not reaped yet, and to all its descendants. The descendants are collected
 * before the first of them dies, because orphans cannot be found by their parent. Each is stopped before its
 * children are listed, because a stopped process starts no more of them.
 * @param pid a process that leads a process group of its own
 * @param proc where proc(5) is mounted
 */
export function killTree(pid: number, proc = '/proc'): void {
  const stopped = new Set<number>();
  // Another pass finds the children that a process started just before it stopped.
  for (let [pass, before] = [0, -1]; before < stopped.size && pass < mostPasses; pass += 1) {
    before = stopped.size;
    const seen = new Set([pid]);
    // The loop also visits the processes that are added in it.
    for (const each of seen) {
      if (!stopped.has(each)) signal(each, 'SIGSTOP');
      stopped.add(each);
      for (const child of childrenOf(each, proc)) seen.add(child);
    }
  }
  for (const each of [-pid, ...stopped]) signal(each, 'SIGKILL');
}

/** Limit, so that a tree that changes all the time does not hold up this process. */
const mostPasses = 20;

function signal(pid: number, name: 'SIGKILL' | 'SIGSTOP'): void {
  try {
    process.kill(pid, name);
  } catch {
    // The process has ended in the meantime.
  }
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
