import { genesis } from '../../trust/verdict-log/index.ts';

/** The facts about a node in the store, without its rows and its state. */
export interface NodeRecord {
  readonly id: number;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** When it last sent something, in milliseconds since 1970. */
  readonly seen: number;
  /** Number and hash of its last row. */
  readonly seq: number;
  readonly hash: string;
  /**
   * The key that its log names for checkpoints, in the form of a note key; empty when there is no key yet.
   */
  readonly key: string;
  /**
   * Number of rows that its latest checkpoint covers, and the checkpoint; 0 and empty when there is no
   * checkpoint.
   */
  readonly signed: number;
  readonly note: string;
  /** Bytes of its rows and their texts. */
  readonly bytes: number;
}

/** Returns the record of a node that has not sent anything. */
export function newNode(name: string): NodeRecord {
  return { id: 0, name, labels: {}, seen: 0, seq: 0, hash: genesis, key: '', signed: 0, note: '', bytes: 0 };
}

/** The codes of the problems of a node's log. */
export const logProblems = {
  LOG_FORKED: 'The node sent a different row under the number of an earlier row: its log was rewritten.',
  LOG_CHAIN_BROKEN: 'A row does not follow from the row before it.',
  LOG_CUT_OFF: 'A checkpoint covers fewer rows than the node has sent: the end of its log was cut off.',
  LOG_CHECKPOINT_WRONG:
    'A checkpoint does not match the rows, or its signature by the key of the log is not valid.',
  LOG_KEY_CHANGED: 'The log names another key than the key that is configured for the node.',
} as const;

export type LogProblemCode = keyof typeof logProblems;

/** A problem of the log of a node. */
export interface LogProblem {
  readonly code: LogProblemCode;
  readonly seq: number;
  readonly text: string;
}

/** A row of a log that follows from the rows before it. */
export interface AcceptedRow {
  readonly seq: number;
  readonly entry: string;
  readonly evidence: string;
  readonly hash: string;
  /** Absent: the row is not about a verdict. */
  readonly verdict?: {
    readonly id: string;
    /** Milliseconds since 1970. */
    readonly time: number;
    readonly outcome: string;
    readonly reference: string;
    readonly digest: string;
    readonly namespace: string;
    readonly revision: string;
    /** Absent: the node did not send it. */
    readonly text?: VerdictText;
  };
}

/** The text of a verdict, whose digest is the verdict's id, and the fields that searches need. */
export interface VerdictText {
  readonly json: string;
  readonly codes: readonly string[];
  /** The outcome of the rule without the exception of the policy that overrode it. */
  readonly would?: string;
}
