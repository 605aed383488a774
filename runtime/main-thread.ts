import { readFileSync, readdirSync } from 'node:fs';
import { reasonOf } from '../base/errors/index.ts';
import { makeThreadPrompt, raiseThreadPriority } from '../base/kernel/index.ts';
import type { Logger } from '../base/log/index.ts';

/** It only routes, a few milliseconds at a time, and everything waits for it: it must not queue behind forty starting containers. */
export function favourMainThread(log: Logger): void {
  try {
    raiseThreadPriority(-10);
    // The main thread takes their lock for each file that it opens: one that is held by a thread without a processor holds it up too.
    for (const thread of poolThreads()) raiseThreadPriority(-10, thread);
    makeThreadPrompt();
  } catch (cause) {
    log.info({ cause: reasonOf(cause) }, 'the main thread takes its turn among others');
  }
}

/** libuv's pool, all of whose threads start with its first use: the configuration has been read. */
function poolThreads(): number[] {
  const folder = '/proc/self/task';
  return readdirSync(folder)
    .filter((thread) => readFileSync(`${folder}/${thread}/comm`, 'utf8').trim() === 'libuv-worker')
    .map(Number);
}
