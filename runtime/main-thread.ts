import { readFileSync, readdirSync } from 'node:fs';
import type { Worker } from 'node:worker_threads';
import { reasonOf } from '../base/errors/index.ts';
import { makeThreadPrompt, raiseThreadPriority } from '../base/kernel/index.ts';
import type { Logger } from '../base/log/index.ts';

/** Workers that are short at work and share a lock, their queue's, with the main thread. Others unpack, prove, carry streams: they take their turn. */
const brief: ReadonlySet<string> = new Set([
  'writer.worker',
  'kernel-mounts.worker',
  'kernel-namespaces.worker',
  'kernel-programs.worker',
  'network.worker',
  'reactor.worker',
]);
const nice = -10;

/**
 * The main thread only routes, a few milliseconds at a time, and everything waits for it: it must not queue behind forty starting
 * containers. Nor must those that it waits for. To be called before Workers are started.
 */
export function favourMainThread(log: Logger): void {
  try {
    raiseThreadPriority(nice);
    // The main thread takes their lock for each file that it opens: one that is held by a thread without a processor holds it up too.
    for (const thread of threads()) if (nameOf(thread) === 'libuv-worker') raiseThreadPriority(nice, thread);
    favourBriefWorkers();
    makeThreadPrompt();
  } catch (cause) {
    log.info({ cause: reasonOf(cause) }, 'the main thread takes its turn among others');
  }
}

/** From their first moment: with a busy processor most of a Worker's start is waiting. */
function favourBriefWorkers(): void {
  let before = new Set(threads());
  const favour = ({ threadName }: Worker): void => {
    const now = threads();
    const started = now.filter((thread) => !before.has(thread));
    before = new Set(now);
    if (threadName === null || !brief.has(threadName)) return;
    for (const thread of started) {
      try {
        // Until it has run it has its parent's name.
        if ([nameOf(process.pid), threadName.slice(0, 15)].includes(nameOf(thread))) raiseThreadPriority(nice, thread);
      } catch {
        // It has ended.
      }
    }
  };
  process.on('worker', (worker: Worker) => {
    try {
      favour(worker);
    } catch {
      // Without a descriptor to look it takes its turn among others: nothing that anybody waits for.
    }
  });
}

/** All that libuv's pool will have are there with its first use: the configuration has been read. */
function threads(): number[] {
  return readdirSync('/proc/self/task').map(Number);
}

function nameOf(thread: number): string {
  return readFileSync(`/proc/self/task/${thread}/comm`, 'utf8').trim();
}
