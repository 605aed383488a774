import type { Dialect } from '../tuf/metadata/model.ts';
import type { DigestedFile } from './accept.ts';
import type { AcceptInput } from './accept-input.ts';
import type { Refusal } from './refusal.ts';

/** What the judging thread offers. Buffers come and go as bare bytes. */
export type JudgeCalls = {
  readonly accept: (dialect: Dialect, input: AcceptInput) => readonly DigestedFile[] | Refusal;
  /** Of both dialects, the files whose targets must be the same. */
  readonly differentTarget: (notary: ReadonlyMap<string, Buffer>, tuf: ReadonlyMap<string, Buffer>) => string | undefined;
};
