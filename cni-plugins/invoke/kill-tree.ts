import { readFileSync, readdirSync } from 'node:fs';

/**
 * SIGKILL for a child that was not reaped yet, and for all that it started: they are sought before the first of them dies, since orphans
 * have no parent to be found by.
 * @param pid of one that leads a process group of its own
 */
export function killTree(pid: number): void {
  const below = descendants(pid);
  for (const each of [-pid, pid, ...below]) {
    try {
      process.kill(each, 'SIGKILL');
    } catch {
      // It has ended meanwhile.
    }
  }
}

function descendants(pid: number): number[] {
  const children = childrenOf(pid);
  return [...children, ...children.flatMap(descendants)];
}

/** proc(5), /proc/PID/task/TID/children: of each thread the children that it started. */
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
