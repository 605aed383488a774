/** A problem of a log. */
export interface LogProblem {
  readonly code: LogProblemCode;
  /** The row, when the problem is about one. */
  readonly seq?: number;
  /** One sentence. */
  readonly text: string;
}

export type LogProblemCode =
  | 'TRUST_LOG_CHAIN_BROKEN'
  | 'TRUST_LOG_ROW_MISSING'
  | 'TRUST_LOG_ENTRY_MALFORMED'
  | 'TRUST_LOG_TEXT_ALTERED'
  | 'TRUST_LOG_TEXT_MISSING'
  | 'TRUST_LOG_VERDICT_UNLOGGED'
  | 'TRUST_LOG_CHECKPOINT_WRONG'
  | 'TRUST_LOG_HEAD_WRONG'
  | 'TRUST_LOG_DAMAGED';

/** Takes one problem. @param seq the row, when the problem is about one */
export type ReportProblem = (code: LogProblemCode, text: string, seq?: number) => void;
