import { createTurns } from '../../base/connections/index.ts';
import { createThreadPool, startWorker } from '../../base/process/index.ts';
import { createFairTurns } from '../decisions/fair-turns.ts';
import { examineBody } from './examine-review.ts';
import type { Examined, ReviewMode } from './examine-review.ts';
import type { ExaminerCalls } from './examiner-calls.ts';

/**
 * Examines the bodies of reviews, of each peer in turn. Small bodies are examined immediately. An object of
 * many parts takes seconds: it is examined in a thread that exists only while it is needed, so that health
 * probes and other reviews do not wait for it.
 */
export interface Examiner {
  /**
   * @param isLate asked when its turn comes. If it returns true, the body is not examined
   * @returns undefined: it was late
   * @throws PortcullisError ADMISSION_FAILED when the thread takes too long, or ends
   */
  examine(
    body: Buffer,
    how: { readonly mode: ReviewMode; readonly allowUnread: boolean },
    peer: string,
    isLate: () => boolean,
  ): Promise<Examined | undefined>;
  close(): Promise<void>;
}

/** In bytes. A body of this size takes a few milliseconds, and in the worst case about fifty. */
const smallBody = 64 * 1024;
/** In ms: the usual time limit of a call. The reviews behind a large body wait this long at most. */
const usualLongestMs = 10_000;
/** An isolate costs about 15 MB. It is released after this idle time. */
const idleMs = 60_000;

/**
 * Creates an examiner. Its thread starts with the first large body. The caller must close the examiner.
 * @param longestMs how long the thread may take for one body, in ms
 */
export function createExaminer(longestMs = usualLongestMs): Examiner {
  const turns = createTurns(1);
  // One thread: the largest body takes hundreds of megabytes of memory.
  const largeTurns = createFairTurns({ atOnce: 1, atOnceOfParty: 1, reserved: 0 });
  const pool = createThreadPool<ExaminerCalls, undefined>({
    start: () =>
      startWorker(import.meta.url, './examine.worker.ts', {
        resourceLimits: { maxOldGenerationSizeMb: 768 },
      }),
    ...{ memory: () => undefined, most: 1, deadlineMs: longestMs, idleMs },
    blame: {
      code: 'ADMISSION_FAILED',
      kind: 'internal',
      attempted: 'read a review',
      on: '',
      fix: 'make the object smaller',
    },
  });
  return {
    async examine(body, { mode, allowUnread }, peer, isLate) {
      if (body.length <= smallBody) {
        await turns.take(peer);
        return isLate() ? undefined : examineBody(body, mode, allowUnread);
      }
      return largeTurns.run([peer], async () =>
        isLate() ? undefined : pool.ask(peer, (caller) => caller.call('examine', body, mode, allowUnread)),
      );
    },
    close: () => pool.close(),
  };
}
