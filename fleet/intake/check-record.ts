import { createHash } from 'node:crypto';
import { hasManyValues, parseJson } from '../../base/json/index.ts';
import {
  noteSignedBy,
  parseCheckpoint,
  parseEntry,
  parseNoteKey,
  rowHash,
} from '../../trust/verdict-log/index.ts';
import { attributeNames } from '../records/record-names.ts';
import type { LogRecord } from '../records/log-record.ts';
import type {
  AcceptedRow,
  LogProblem,
  LogProblemCode,
  NodeRecord,
  VerdictText,
} from '../store/node-record.ts';

/** The answer to one record: accepted with its changes, already known, or refused. */
export type Judged =
  | { readonly row: AcceptedRow; readonly key?: string }
  | 'known'
  | { readonly refused: string; readonly problem?: LogProblem };

/** A longer text of a verdict is not kept, but its row is. */
const mostTextBytes = 512 * 1024;
const mostCodes = 64;
/**
 * An entry has about ten values, and a text some for each reason. A hostile one could have millions, which
 * take seconds to read.
 */
const mostValues = 2 ** 16;
/** The characters of a field that lists and searches show. The entry of the row is stored as it is. */
const mostFieldLength = 4096;

const refused = (why: string, code?: LogProblemCode, seq = 0): Judged => ({
  refused: why,
  ...(code !== undefined && { problem: { code, seq, text: why } }),
});

/**
 * Checks a row of a node's log against the chain so far.
 * @param hashOf returns the hash of a row that is stored, or undefined
 * @param pinned the key that is configured for the node; undefined: the log itself names the key
 */
export async function judgeRow(
  node: Pick<NodeRecord, 'seq' | 'hash'>,
  record: LogRecord,
  hashOf: (seq: number) => Promise<string | undefined>,
  pinned: string | undefined,
): Promise<Judged> {
  const [seq, entry, evidence, hash] = (['seq', 'entry', 'evidence', 'hash'] as const).map((name) =>
    record.attributes.get(attributeNames[name]),
  );
  if (
    typeof seq !== 'number' ||
    !Number.isSafeInteger(seq) ||
    seq < 1 ||
    typeof entry !== 'string' ||
    typeof evidence !== 'string' ||
    typeof hash !== 'string' ||
    !/^([0-9a-f]{64})?$/u.test(evidence) ||
    !/^[0-9a-f]{64}$/u.test(hash)
  )
    return refused('a row has no valid number, entry, evidence or hash');
  if (seq > node.seq + 1) return refused(`row ${node.seq + 1} must come before row ${seq}`);
  if (seq <= node.seq) {
    const stored = seq === node.seq ? node.hash : await hashOf(seq);
    // An expired row cannot be compared.
    if (stored === undefined || stored === hash) return 'known';
    return refused(
      `row ${seq} differs from the row that the node sent before under this number`,
      'LOG_FORKED',
      seq,
    );
  }
  if (rowHash(node.hash, { seq, entry, evidence }) !== hash)
    return refused(`row ${seq} does not follow from row ${node.seq}`, 'LOG_CHAIN_BROKEN', seq);
  if (hasManyValues(entry, mostValues))
    return refused(`row ${seq} has more than ${mostValues} values`, 'LOG_CHAIN_BROKEN', seq);
  const parsed = parseEntry(entry);
  if ('problem' in parsed) return refused(`row ${seq}: ${parsed.problem}`, 'LOG_CHAIN_BROKEN', seq);
  const row = { seq, entry, evidence, hash };
  if (parsed.kind === 'key') {
    if (pinned !== undefined && parsed.key !== pinned)
      return refused(`row ${seq} names another key than the configured key`, 'LOG_KEY_CHANGED', seq);
    return { row, key: shown(parsed.key) };
  }
  if (parsed.kind !== 'verdict') return { row };
  const { verdict: id, time, outcome, reference, digest, namespace, policyRevision: revision } = parsed;
  const at = Date.parse(time);
  if (!Number.isFinite(at) || !['admit', 'deny', 'undecided'].includes(outcome))
    return refused(`row ${seq} has no valid time or outcome`, 'LOG_CHAIN_BROKEN', seq);
  const text = textOf(id, record.body);
  return {
    row: {
      ...row,
      verdict: {
        ...{ id: shown(id), time: at, outcome, reference: shown(reference), digest: shown(digest) },
        ...{ namespace: shown(namespace), revision: shown(revision), ...(text && { text }) },
      },
    },
  };
}

const shown = (field: string): string => field.slice(0, mostFieldLength);

/** Returns the text of a verdict, if its digest is the id of the verdict. */
function textOf(id: string, body: string): VerdictText | undefined {
  if (body === '' || body.length > mostTextBytes || hasManyValues(body, mostValues)) return undefined;
  if (`sha256:${createHash('sha256').update(body).digest('hex')}` !== id) return undefined;
  let value: unknown;
  try {
    value = parseJson(body);
  } catch {
    return undefined;
  }
  const { reasons, exceptions } = (value ?? {}) as { reasons?: unknown; exceptions?: unknown };
  const would = Array.isArray(exceptions)
    ? (exceptions as unknown[]).map((one) => (one as { wouldBe?: unknown } | null)?.wouldBe)
    : [];
  const found = ['deny', 'undecided'].find((outcome) => would.includes(outcome));
  return { json: body, codes: codesOf(reasons), ...(found !== undefined && { would: found }) };
}

/** Collects the codes of a tree of reasons. The JSON reader bounds its depth. */
function codesOf(reasons: unknown): readonly string[] {
  const codes = new Set<string>();
  const waiting: unknown[] = [reasons];
  while (waiting.length > 0 && codes.size < mostCodes) {
    const { code, children } = (waiting.pop() ?? {}) as { code?: unknown; children?: unknown };
    if (typeof code === 'string' && /^[A-Z][A-Z0-9_]{0,63}$/u.test(code)) codes.add(code);
    if (Array.isArray(children)) for (const child of children as unknown[]) waiting.push(child);
  }
  return [...codes];
}

/**
 * Checks a checkpoint of a node: its signature with the key of the log, and its position in the chain.
 * @param pinned the key that is configured for the node; undefined: the log itself names the key
 * @returns the number of rows that it covers, or the problem. `later`: it covers rows that the node has not
 * sent yet
 */
export async function judgeCheckpoint(
  node: Pick<NodeRecord, 'seq' | 'hash' | 'key' | 'signed' | 'note'>,
  note: string,
  hashOf: (seq: number) => Promise<string | undefined>,
  pinned: string | undefined,
): Promise<{ readonly size: number } | { readonly problem: LogProblem } | 'later'> {
  const checkpoint = parseCheckpoint(note);
  const wrong = (code: LogProblemCode, seq: number, text: string) => ({ problem: { code, seq, text } });
  if ('problem' in checkpoint) return wrong('LOG_CHECKPOINT_WRONG', node.seq, checkpoint.problem);
  const { size, hash } = checkpoint.head;
  const key = parseNoteKey(pinned ?? node.key);
  if (size > node.seq || key === undefined) return 'later';
  if (noteSignedBy(checkpoint.note, [key]) === undefined)
    return wrong('LOG_CHECKPOINT_WRONG', size, `the checkpoint of ${size} rows has no valid signature`);
  const stored = size === node.seq ? node.hash : await hashOf(size);
  if (stored !== undefined && stored !== hash)
    return wrong('LOG_FORKED', size, `the checkpoint of ${size} rows has another hash than row ${size}`);
  // The previous checkpoint stays when its row has expired.
  if (size === node.signed && signedHash(node.note) !== hash)
    return wrong('LOG_FORKED', size, `two checkpoints of ${size} rows have different hashes`);
  return { size };
}

function signedHash(note: string): string | undefined {
  const checkpoint = parseCheckpoint(note);
  return 'problem' in checkpoint ? undefined : checkpoint.head.hash;
}
