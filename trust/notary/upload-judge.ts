import { isPortcullisError } from '../../base/errors/index.ts';
import { createThreadPool, startWorker } from '../../base/process/index.ts';
import type { Dialect } from '../tuf-metadata/model.ts';
import { accept, asBuffer } from './accept.ts';
import type { DigestedFile } from './accept.ts';
import type { AcceptInput } from './accept-input.ts';
import type { JudgeCalls } from './upload-judge-calls.ts';
import { invalidUpdate } from './refusal.ts';
import type { Refusal } from './refusal.ts';
import { differentTarget } from './same-targets.ts';

/**
 * Judges uploads: small ones immediately, large ones in threads that exist only while they are needed, each
 * within a deadline.
 */
export interface Judge {
  judge(dialect: Dialect, input: AcceptInput): Promise<readonly DigestedFile[] | Refusal>;
  /**
   * Like differentTarget: returns a name for which the files of both dialects differ, or undefined. Refuses
   * when the comparison takes too long.
   * @param gun the collection that the files belong to
   */
  differentTarget(
    gun: string,
    notary: ReadonlyMap<string, Buffer>,
    tuf: ReadonlyMap<string, Buffer>,
  ): Promise<string | Refusal | undefined>;
  close(): Promise<void>;
}

/** Parsing and hashing this many bytes takes a millisecond or two. */
const smallBytes = 128 * 1024;

/**
 * The comparison matches every name against every pattern. For this many bytes it takes a fraction of a
 * second in the worst case.
 */
const smallComparison = 16 * 1024;
/** Number of threads: a collection whose upload takes long does not delay the others. */
const threads = 2;
/** Judging 100 MiB of honest metadata takes a few seconds. */
const longestMs = 60_000;
/** An isolate costs about 15 MB. It is released after this idle time. */
const idleMs = 60_000;

const lost = 'TRUST_SERVICE_JUDGE_LOST';

export interface JudgeOptions {
  /** Milliseconds that one judgement may run in its thread. Default: one minute. */
  readonly deadlineMs?: number;
}

export function createJudge({ deadlineMs = longestMs }: JudgeOptions = {}): Judge {
  const pool = createThreadPool<JudgeCalls, undefined>({
    start: () =>
      startWorker(import.meta.url, './accept-upload.worker.ts', {
        stdin: false,
        resourceLimits: { maxOldGenerationSizeMb: 2048 },
      }),
    ...{ memory: () => undefined, most: threads, deadlineMs, idleMs },
    blame: {
      code: lost,
      kind: 'unavailable',
      attempted: 'judge an upload',
      on: '',
      fix: 'publish less at once',
    },
  });
  /** A lost judgement: the upload is neither accepted nor kept, and the publisher gets the reason. */
  const unlessLost = async <T>(judgement: Promise<T>): Promise<T | Refusal> => {
    try {
      return await judgement;
    } catch (thrown) {
      if (!isPortcullisError(thrown) || thrown.code !== lost) throw thrown;
      return invalidUpdate('ErrValidation', `the update could not be judged: ${thrown.failure.why}`);
    }
  };
  return {
    async judge(dialect, input) {
      if (weightOf(input) <= smallBytes) return accept(dialect, input);
      const outcome = await unlessLost(
        pool.ask(input.gun, (caller) => caller.call('accept', dialect, input)),
      );
      return 'refused' in outcome
        ? outcome
        : outcome.map((file) => ({ ...file, bytes: asBuffer(file.bytes) }));
    },
    async differentTarget(gun, notary, tuf) {
      const [theirs, ours] = [targetFiles(notary), targetFiles(tuf)];
      if (bytesIn(theirs) + bytesIn(ours) <= smallComparison) return differentTarget(theirs, ours);
      return unlessLost(pool.ask(gun, (caller) => caller.call('differentTarget', theirs, ours)));
    },
    close: () => pool.close(),
  };
}

function weightOf({ uploads, stored }: AcceptInput): number {
  let bytes = bytesIn(stored);
  for (const upload of uploads) bytes += upload.bytes.length;
  return bytes;
}

function bytesIn(files: ReadonlyMap<string, Buffer>): number {
  let bytes = 0;
  for (const file of files.values()) bytes += file.length;
  return bytes;
}

/** Keeps only the targets files, because everything that is sent to another thread is copied. */
const targetFiles = (files: ReadonlyMap<string, Buffer>): Map<string, Buffer> =>
  new Map([...files].filter(([role]) => role !== 'root' && role !== 'snapshot' && role !== 'timestamp'));
