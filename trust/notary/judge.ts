import { isPortcullisError } from '../../base/errors/index.ts';
import { createThreadPool, startWorker } from '../../base/process/index.ts';
import type { Dialect } from '../tuf/metadata/model.ts';
import { accept, asBuffer } from './accept.ts';
import type { DigestedFile } from './accept.ts';
import type { AcceptInput } from './accept-input.ts';
import type { JudgeCalls } from './judge-calls.ts';
import { invalidUpdate } from './refusal.ts';
import type { Refusal } from './refusal.ts';
import { differentTarget } from './same-targets.ts';

/** Judges uploads: small ones at once, large ones in threads that live while they are needed, each within a deadline. */
export interface Judge {
  judge(dialect: Dialect, input: AcceptInput): Promise<readonly DigestedFile[] | Refusal>;
  /**
   * As differentTarget: a name about which the files of both dialects differ, or undefined; a refusal where that takes too long.
   * @param gun the collection that they are of
   */
  differentTarget(
    gun: string,
    notary: ReadonlyMap<string, Buffer>,
    tuf: ReadonlyMap<string, Buffer>,
  ): Promise<string | Refusal | undefined>;
  close(): Promise<void>;
}

/** Parsing and hashing so much takes a millisecond or two. */
const smallBytes = 128 * 1024;

/** Names are held against patterns there, each against each: of so much that takes a fraction of a second at the worst. */
const smallComparison = 16 * 1024;
/** Threads at one time: one collection's upload that takes long does not keep the others waiting. */
const threads = 2;
/** A judgement of 100 MiB of honest metadata takes a few seconds. */
const longestMs = 60_000;
/** An isolate costs some 15 MB; unused for so long it is given back. */
const idleMs = 60_000;

const lost = 'TRUST_SERVICE_JUDGE_LOST';

export interface JudgeOptions {
  /** Milliseconds that one judgement may run in its thread; a minute unless told. */
  readonly deadlineMs?: number;
}

export function createJudge({ deadlineMs = longestMs }: JudgeOptions = {}): Judge {
  const pool = createThreadPool<JudgeCalls, undefined>({
    start: () =>
      startWorker(import.meta.url, './accept-upload.worker.ts', { stdin: false, resourceLimits: { maxOldGenerationSizeMb: 2048 } }),
    ...{ memory: () => undefined, most: threads, deadlineMs, idleMs },
    blame: { code: lost, kind: 'unavailable', attempted: 'judge an upload', on: '', fix: 'publish less at once' },
  });
  /** Neither accepted nor kept: the publisher hears why. */
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
      const outcome = await unlessLost(pool.ask(input.gun, (caller) => caller.call('accept', dialect, input)));
      return 'refused' in outcome ? outcome : outcome.map((file) => ({ ...file, bytes: asBuffer(file.bytes) }));
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

/** What crosses to another thread is copied. */
const targetFiles = (files: ReadonlyMap<string, Buffer>): Map<string, Buffer> =>
  new Map([...files].filter(([role]) => role !== 'root' && role !== 'snapshot' && role !== 'timestamp'));
