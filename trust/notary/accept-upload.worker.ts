import { parentPort } from 'node:worker_threads';
import { accept, asBuffer } from './accept.ts';
import type { DigestedFile } from './accept.ts';
import type { AcceptInput } from './accept-input.ts';
import type { Refusal } from './refusal.ts';
import { differentTarget } from './same-targets.ts';
import type { Dialect } from '../tuf/metadata/model.ts';

/** What a request asks. Buffers come as bare bytes. */
export type Judgement =
  | { readonly kind: 'accept'; readonly dialect: Dialect; readonly input: AcceptInput }
  /** Of both dialects, the files whose targets must be the same. */
  | { readonly kind: 'compare'; readonly notary: ReadonlyMap<string, Buffer>; readonly tuf: ReadonlyMap<string, Buffer> };

/** Judges large uploads off the main thread. Answers: id and outcome, or why it broke. */
export interface JudgeRequest {
  readonly id: number;
  readonly asked: Judgement;
}

export type Outcome = readonly DigestedFile[] | Refusal | string | undefined;

parentPort?.on('message', ({ id, asked }: JudgeRequest) => {
  try {
    parentPort?.postMessage({ id, outcome: outcomeOf(asked) });
  } catch (thrown) {
    parentPort?.postMessage({ id, broken: thrown instanceof Error ? thrown.message : String(thrown) });
  }
});

function outcomeOf(asked: Judgement): Outcome {
  if (asked.kind === 'compare') return differentTarget(buffers(asked.notary), buffers(asked.tuf));
  const { dialect, input } = asked;
  return accept(dialect, {
    ...input,
    uploads: input.uploads.map(({ name, bytes }) => ({ name, bytes: asBuffer(bytes) })),
    stored: buffers(input.stored),
    online: input.online.map((key) => ({ ...key, public: asBuffer(key.public) })),
  });
}

const buffers = (files: ReadonlyMap<string, Buffer>): Map<string, Buffer> =>
  new Map([...files].map(([role, bytes]) => [role, asBuffer(bytes)]));
