import type { Dialect } from '../tuf-metadata/model.ts';
import type { DigestedFile } from './accept.ts';
import type { AcceptInput } from './accept-input.ts';
import type { Refusal } from './refusal.ts';

/** The calls that the judging thread offers. Buffers are transferred as plain Uint8Arrays. */
export type JudgeCalls = {
  readonly accept: (dialect: Dialect, input: AcceptInput) => readonly DigestedFile[] | Refusal;
  /** Compares the files of both dialects, whose targets must be the same. */
  readonly differentTarget: (
    notary: ReadonlyMap<string, Buffer>,
    tuf: ReadonlyMap<string, Buffer>,
  ) => string | undefined;
};
