import { reasonOf } from '../../base/errors/index.ts';
import { genesis, rowHash } from './chain.ts';
import type { LogRow } from './chain.ts';
import { parseCheckpoint } from './checkpoint.ts';
import type { LogHead } from './checkpoint.ts';
import { parseEntry } from './entry.ts';
import { noteSignedBy, parseNoteKey } from './signed-note.ts';
import type { NoteKey } from './signed-note.ts';
import type { LogProblem, ReportProblem } from './problem.ts';
import type { LogSource } from './source.ts';
import { createTextCheck } from './text-check.ts';

/** Whether the log is intact and, if not, where it breaks. */
export interface LogVerification {
  readonly ok: boolean;
  readonly rows: number;
  readonly head: LogHead;
  readonly checkpoints: number;
  /** Number of rows after the last checkpoint: chained, but not signed yet. */
  readonly unsigned: number;
  /** Number of rows whose texts retention has dropped. */
  readonly dropped: number;
  /** Number of rows of kinds that this version does not know: they are chained, and not judged. */
  readonly unknown: number;
  /** Public keys of the checkpoints, in the order in which the log names them. */
  readonly keys: readonly string[];
  /** At most {@link mostProblems}. Further problems are only counted. */
  readonly problems: readonly LogProblem[];
  readonly problemCount: number;
}

export interface VerifyLogOptions {
  /** Signed checkpoints that were exported earlier. The log must still contain them. */
  readonly heads?: readonly string[];
  /** Trusted keys. If given, keys that the log itself names do not count. */
  readonly keys?: readonly NoteKey[];
}

const mostProblems = 100;

/**
 * Verifies a whole log: the hash of each row from the first on, each stored text against the digest in its
 * row, the signature and position of each checkpoint, and every exported head. Never throws because of the
 * log's content.
 */
export function verifyLog(source: LogSource, options: VerifyLogOptions = {}): LogVerification {
  const problems: LogProblem[] = [];
  let problemCount = 0;
  const report: ReportProblem = (code, text, seq) => {
    problemCount += 1;
    if (problems.length < mostProblems) problems.push({ code, text, ...(seq !== undefined && { seq }) });
  };
  const guarded = (body: () => void): void => {
    try {
      body();
    } catch (error) {
      report('TRUST_LOG_DAMAGED', `${source.name} cannot be read any further: ${reasonOf(error)}`);
    }
  };

  guarded(() => {
    for (const line of source.damage()) report('TRUST_LOG_DAMAGED', line);
  });
  const walk = createWalk(source, report);
  guarded(() => {
    for (const row of source.rows()) {
      if ('problem' in row) report('TRUST_LOG_CHAIN_BROKEN', `row ${row.seq}: ${row.problem}`, row.seq);
      else walk.row(row);
    }
  });
  guarded(walk.finish);
  const keys = options.keys ?? walk.keys.map(({ key }) => key);
  let checkpoints = 0;
  let signedUpTo = 0;
  guarded(() => {
    for (const { size, note } of source.checkpoints()) {
      checkpoints += 1;
      signedUpTo = Math.max(signedUpTo, size);
      const why = whyNotHead(note, keys, walk.hashAt, size);
      if (why !== undefined) report('TRUST_LOG_CHECKPOINT_WRONG', `the checkpoint of ${size} rows: ${why}`);
    }
  });
  for (const head of options.heads ?? []) {
    const why = whyNotHead(head, keys, walk.hashAt);
    if (why !== undefined) report('TRUST_LOG_HEAD_WRONG', `the exported head: ${why}`);
  }
  const { head } = walk;
  return {
    ok: problemCount === 0,
    rows: head().size,
    head: head(),
    checkpoints,
    unsigned: Math.max(0, head().size - signedUpTo),
    dropped: walk.dropped(),
    unknown: walk.unknown(),
    keys: walk.keys.map(({ key }) => key.text),
    problems,
    problemCount,
  };
}

function whyNotHead(
  note: string,
  keys: readonly NoteKey[],
  hashAt: (size: number) => string | undefined,
  size?: number,
): string | undefined {
  const checkpoint = parseCheckpoint(note);
  if ('problem' in checkpoint) return checkpoint.problem;
  const { head } = checkpoint;
  if (size !== undefined && head.size !== size) return `it states ${head.size} rows`;
  if (noteSignedBy(checkpoint.note, keys) === undefined) {
    const names = checkpoint.note.signatures.map(({ name, keyId }) => `${name}+${keyId}`).join(', ');
    return keys.length === 0
      ? 'no key is known to check its signature with'
      : `it is not signed by a trusted key (signed by ${names})`;
  }
  const found = hashAt(head.size);
  if (found === undefined) return `it covers ${head.size} rows, but the log has fewer: its end was cut off`;
  return found === head.hash
    ? undefined
    : `row ${head.size} had the hash ${head.hash}, and now the chain has ${found} there`;
}

/** Follows the chain of a log, row by row. */
function createWalk(source: LogSource, report: ReportProblem) {
  const hashes: string[] = [genesis];
  const keys: { readonly key: NoteKey; readonly seq: number }[] = [];
  const texts = createTextCheck(source, report);
  let through = 0;
  let unknown = 0;

  function row(stored: LogRow): void {
    const expected = hashes.length;
    // After a gap, the chain is followed from the next stored row, so that one missing row is one problem.
    if (stored.seq !== expected) {
      report(
        'TRUST_LOG_ROW_MISSING',
        `row ${expected} should follow, but row ${stored.seq} follows`,
        stored.seq,
      );
      if (stored.seq > expected && stored.seq - expected < 1_000_000)
        while (hashes.length < stored.seq) hashes.push('');
    }
    const computed = rowHash(hashes.at(-1) ?? '', stored);
    if (computed !== stored.hash)
      report(
        'TRUST_LOG_CHAIN_BROKEN',
        `row ${stored.seq} does not have the hash that its content and the row before it give`,
        stored.seq,
      );
    // The chain continues from the stored hash, so that rows after an altered row are judged separately.
    // Checkpoints pin the rest.
    hashes.push(stored.hash);
    const entry = parseEntry(stored.entry);
    if ('problem' in entry)
      return report('TRUST_LOG_ENTRY_MALFORMED', `row ${stored.seq}: ${entry.problem}`, stored.seq);
    if (entry.kind === 'unknown') unknown += 1;
    else if (entry.kind === 'verdict') texts.verdict(stored, entry);
    else if (entry.kind === 'retention') {
      if (entry.through >= stored.seq)
        report(
          'TRUST_LOG_ENTRY_MALFORMED',
          `row ${stored.seq} drops texts of rows that come after it`,
          stored.seq,
        );
      else through = Math.max(through, entry.through);
    } else if (entry.kind === 'key') {
      const key = parseNoteKey(entry.key);
      if (key === undefined)
        report('TRUST_LOG_ENTRY_MALFORMED', `row ${stored.seq} names a key that cannot be read`, stored.seq);
      else keys.push({ key, seq: stored.seq });
    }
  }

  return {
    row,
    keys,
    head: (): LogHead => ({ size: hashes.length - 1, hash: hashes.at(-1) ?? '' }),
    hashAt: (size: number) => hashes[size],
    unknown: () => unknown,
    dropped: () => texts.dropped(through),
    finish: () => texts.finish(through),
  };
}
