import type { examineBody } from './examine-review.ts';

/** The calls that the examining thread offers. */
export type ExaminerCalls = { readonly examine: typeof examineBody };
