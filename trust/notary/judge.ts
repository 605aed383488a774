import type { Worker } from 'node:worker_threads';
import { startWorker } from '../../base/process/index.ts';
import type { Dialect } from '../tuf/metadata/model.ts';
import { accept, asBuffer } from './accept.ts';
import type { DigestedFile } from './accept.ts';
import type { AcceptInput } from './accept-input.ts';
import type { Judgement, JudgeRequest, Outcome } from './accept-upload.worker.ts';
import type { Refusal } from './refusal.ts';
import { differentTarget } from './same-targets.ts';

/** Judges uploads: small ones at once, large ones in a Worker that lives while it is needed. */
export interface Judge {
  judge(dialect: Dialect, input: AcceptInput): Promise<readonly DigestedFile[] | Refusal>;
  /** As differentTarget: a name about which the files of both dialects differ, or undefined. */
  differentTarget(notary: ReadonlyMap<string, Buffer>, tuf: ReadonlyMap<string, Buffer>): Promise<string | undefined>;
  close(): Promise<void>;
}

/** Parsing and hashing so much takes a millisecond or two. */
const smallBytes = 128 * 1024;

type Answer = { readonly id: number } & ({ readonly outcome: Outcome } | { readonly broken: string });
type Waiting = { readonly resolve: (outcome: Outcome) => void; readonly reject: (error: Error) => void };

export function createJudge(): Judge {
  let worker: Worker | undefined;
  let lastId = 0;
  const waiting = new Map<number, Waiting>();
  const fail = (why: string): void => {
    for (const { reject } of waiting.values()) reject(new Error(why));
    waiting.clear();
    worker = undefined;
  };
  const start = (): Worker => {
    const started = startWorker(import.meta.url, './accept-upload.worker.ts', { stdin: false });
    started.on('message', (answer: Answer) => {
      const one = waiting.get(answer.id);
      waiting.delete(answer.id);
      if (waiting.size === 0) started.unref();
      if ('broken' in answer) one?.reject(new Error(answer.broken));
      else one?.resolve(answer.outcome);
    });
    started.on('error', (error) => fail(error instanceof Error ? error.message : String(error)));
    started.on('exit', () => fail('the thread that judges uploads has ended'));
    return started;
  };
  const inWorker = (asked: Judgement): Promise<Outcome> => {
    worker ??= start();
    worker.ref();
    const id = ++lastId;
    const request: JudgeRequest = { id, asked };
    return new Promise((resolve, reject) => {
      waiting.set(id, { resolve, reject });
      worker?.postMessage(request);
    });
  };
  return {
    async judge(dialect, input) {
      if (weightOf(input) <= smallBytes) return accept(dialect, input);
      const outcome = (await inWorker({ kind: 'accept', dialect, input })) as readonly DigestedFile[] | Refusal;
      return 'refused' in outcome ? outcome : outcome.map((file) => ({ ...file, bytes: asBuffer(file.bytes) }));
    },
    async differentTarget(notary, tuf) {
      const [theirs, ours] = [targetFiles(notary), targetFiles(tuf)];
      if (bytesIn(theirs) + bytesIn(ours) <= smallBytes) return differentTarget(theirs, ours);
      return (await inWorker({ kind: 'compare', notary: theirs, tuf: ours })) as string | undefined;
    },
    close: async () => {
      await worker?.terminate();
    },
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
