import { readFileSync, readdirSync } from 'node:fs';
import type { Worker } from 'node:worker_threads';
import { reasonOf } from '../base/errors/index.ts';
import { makeThreadPrompt, raiseThreadPriority, startIoPool } from '../base/kernel/index.ts';
import type { Logger } from '../base/log/index.ts';

/**
 * Workers whose tasks are short and that share a lock, the lock of their queue, with the main thread. Other
 * Workers unpack, prove or carry streams: they keep their normal priority.
 */
const brief: ReadonlySet<string> = new Set([
  'writer.worker',
  'kernel-first.worker',
  'kernel-mounts.worker',
  'kernel-namespaces.worker',
  'kernel-programs.worker',
  'network.worker',
]);
const nice = -10;

/**
 * Raises the priority of the main thread. It only routes, a few milliseconds at a time, and everything waits
 * for it: it must not queue behind forty starting containers. The same holds for the threads that it waits
 * for. Call this before Workers start.
 */
export function favourMainThread(log: Logger): void {
  try {
    startIoPool();
    raiseThreadPriority(nice);
    // The main thread takes their lock for each file that it opens. If a thread holds the lock without a
    // processor, the main thread waits too.
    for (const thread of threads()) if (nameOf(thread) === 'libuv-worker') raiseThreadPriority(nice, thread);
    favourBriefWorkers();
  } catch (cause) {
    log.info({ cause: reasonOf(cause) }, 'the main thread keeps its normal priority');
  }
  try {
    makeThreadPrompt();
  } catch (cause) {
    log.info({ cause: reasonOf(cause) }, 'the main thread has no real-time priority');
  }
}

/** Raises them from their first moment: on a busy processor, a Worker spends most of its start waiting. */
function favourBriefWorkers(): void {
  let before = new Set(threads());
  const favour = ({ threadName }: Worker): void => {
    const now = threads();
    const started = now.filter((thread) => !before.has(thread));
    before = new Set(now);
    if (threadName === null || !brief.has(threadName)) return;
    for (const thread of started) {
      try {
        // A thread has the name of its parent until it has run.
        if ([nameOf(process.pid), threadName.slice(0, 15)].includes(nameOf(thread)))
          raiseThreadPriority(nice, thread);
      } catch {
        // The thread has ended.
      }
    }
  };
  process.on('worker', (worker: Worker) => {
    try {
      favour(worker);
    } catch {
      // Without a free descriptor for this check, the Worker keeps its normal priority: nothing waits for
      // that.
    }
  });
}

function threads(): number[] {
  return readdirSync('/proc/self/task').map(Number);
}

function nameOf(thread: number): string {
  return readFileSync(`/proc/self/task/${thread}/comm`, 'utf8').trim();
}
