import { readFileSync, readdirSync } from 'node:fs';

/**
 * Sends SIGKILL to a child that was not reaped yet, and to all its descendants. The descendants are collected
 * before the first of them dies, because orphans cannot be found by their parent.
 * @param pid a process that leads a process group of its own
 */
export function killTree(pid: number): void {
  const below = descendants(pid);
  for (const each of [-pid, pid, ...below]) {
    try {
      process.kill(each, 'SIGKILL');
    } catch {
      // The process has ended in the meantime.
    }
  }
}

function descendants(pid: number): number[] {
  const children = childrenOf(pid);
  return [...children, ...children.flatMap(descendants)];
}

/** proc(5), /proc/PID/task/TID/children: lists the children that each thread started. */
function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
      readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8')
        .split(' ')
        .filter((text) => text.trim() !== '')
        .map(Number),
    );
  } catch {
    return [];
  }
}
