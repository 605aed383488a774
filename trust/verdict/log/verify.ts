import { createHash } from 'node:crypto';
import { parseJson } from '../../../base/json/index.ts';
import { reasonOf } from '../../../base/errors/index.ts';
import { canonicalDigest, sha256Digest } from '../../canonical-json.ts';
import { partsNamed } from '../../evidence/evidence-parts.ts';
import { unpackBytes } from '../../evidence/byte-packing.ts';
import { recordOf } from '../../strict-json.ts';
import { genesis, rowHash } from './chain.ts';
import type { LogRow } from './chain.ts';
import { parseCheckpoint } from './checkpoint.ts';
import type { LogHead } from './checkpoint.ts';
import { parseEntry } from './entry.ts';
import type { VerdictEntry } from './entry.ts';
import { noteSignedBy, parseNoteKey } from './signed-note.ts';
import type { NoteKey } from './signed-note.ts';
import type { LogSource } from './source.ts';

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
  const report = (code: LogProblemCode, text: string, seq?: number): void => {
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
  if (size !== undefined && head.size !== size) return `it says ${head.size} rows`;
  if (noteSignedBy(checkpoint.note, keys) === undefined) {
    const names = checkpoint.note.signatures.map(({ name, keyId }) => `${name}+${keyId}`).join(', ');
    return keys.length === 0 ? 'no key is known to check its signature with' : `it is not signed by a trusted key (signed by ${names})`;
  }
  const found = hashAt(head.size);
  if (found === undefined) return `it speaks of ${head.size} rows, and the log has fewer: its end was cut off`;
  return found === head.hash ? undefined : `row ${head.size} had the hash ${head.hash}, and now the chain has ${found} there`;
}

function createWalk(source: LogSource, report: (code: LogProblemCode, text: string, seq?: number) => void) {
  const hashes: string[] = [genesis];
  const keys: { readonly key: NoteKey; readonly seq: number }[] = [];
  const seenTexts = new Map<string, string | undefined>();
  const logged = new Set<string>();
  const lacking: { readonly seq: number; readonly what: string }[] = [];
  let through = 0;

  const digestOf = (kind: 'verdict' | 'policy', id: string): string | undefined => {
    const key = `${kind} ${id}`;
    if (!seenTexts.has(key)) {
      const text = source.text(kind, id);
      seenTexts.set(key, text === undefined ? undefined : sha256Digest(text));
    }
    return seenTexts.get(key);
  };

  function row(stored: LogRow): void {
    const expected = hashes.length;
    // After a gap, the chain is followed from the next stored row, so that one missing row is one problem.
    if (stored.seq !== expected) {
      report('TRUST_LOG_ROW_MISSING', `row ${expected} should follow, and row ${stored.seq} does`, stored.seq);
      if (stored.seq > expected && stored.seq - expected < 1_000_000) while (hashes.length < stored.seq) hashes.push('');
    }
    const computed = rowHash(hashes.at(-1) ?? '', stored);
    if (computed !== stored.hash)
      report('TRUST_LOG_CHAIN_BROKEN', `row ${stored.seq} does not have the hash that its content and the row before it give`, stored.seq);
    // The chain continues from the stored hash, so that rows after an altered row are judged separately.
    // Checkpoints pin the rest.
    hashes.push(stored.hash);
    const entry = parseEntry(stored.entry);
    if ('problem' in entry) return report('TRUST_LOG_ENTRY_MALFORMED', `row ${stored.seq}: ${entry.problem}`, stored.seq);
    if (entry.kind === 'verdict') verdict(stored, entry);
    else if (entry.kind === 'retention') {
      if (entry.through >= stored.seq)
        report('TRUST_LOG_ENTRY_MALFORMED', `row ${stored.seq} drops texts of rows that come after it`, stored.seq);
      else through = Math.max(through, entry.through);
    } else {
      const key = parseNoteKey(entry.key);
      if (key === undefined) report('TRUST_LOG_ENTRY_MALFORMED', `row ${stored.seq} names a key that cannot be read`, stored.seq);
      else keys.push({ key, seq: stored.seq });
    }
  }

  function verdict({ seq, evidence }: LogRow, entry: VerdictEntry): void {
    logged.add(entry.verdict);
    const digest = digestOf('verdict', entry.verdict);
    if (digest === undefined) lacking.push({ seq, what: `the text of verdict ${entry.verdict}` });
    else if (digest !== entry.verdict)
      report('TRUST_LOG_TEXT_ALTERED', `the text of verdict ${entry.verdict} has the digest ${digest}`, seq);
    else compare(seq, entry);
    if (entry.policy !== '') {
      const policy = digestOf('policy', entry.policy);
      if (policy === undefined) lacking.push({ seq, what: `the policy ${entry.policy}` });
      else if (policy !== entry.policy) report('TRUST_LOG_TEXT_ALTERED', `the policy ${entry.policy} has the digest ${policy}`, seq);
    }
    if (evidence === '') return;
    const dossier = evidenceOf(entry.dossier);
    if (dossier === undefined) lacking.push({ seq, what: `the dossier ${entry.dossier}` });
    else if (dossier !== evidence) otherDossier.push({ seq, id: entry.dossier });
    else latestMatch.set(entry.dossier, seq);
    for (const problem of partProblems.get(entry.dossier) ?? []) {
      if (problem.altered) report('TRUST_LOG_TEXT_ALTERED', `the evidence ${problem.digest} is not what its digest says`, seq);
      else lacking.push({ seq, what: `the evidence ${problem.digest}` });
    }
  }

  // The same evidence gathered again has the same id and a different time. It is stored again only after
  // retention had dropped it.
  const otherDossier: { readonly seq: number; readonly id: string }[] = [];
  const latestMatch = new Map<string, number>();

  const compared = new Set<string>();
  /** Checks that the row's entry agrees with its verdict. */
  function compare(seq: number, entry: VerdictEntry): void {
    const { outcome, reference, namespace, digest, dossier, policyRevision } = entry;
    const key = canonicalDigest([entry.verdict, outcome, reference, namespace, digest, dossier, policyRevision]);
    if (compared.has(key)) return;
    compared.add(key);
    const text = recordOf(parseJson(source.text('verdict', entry.verdict) ?? 'null'));
    const differs = Object.entries({ outcome, reference, namespace, digest, dossierId: dossier, policyRevision }).find(
      ([name, value]) => text?.[name] !== value,
    );
    if (differs !== undefined) report('TRUST_LOG_TEXT_ALTERED', `row ${seq} and its verdict differ in ${differs[0]}`, seq);
  }

  /**
   * Problems with the parts that dossiers keep apart: missing, or different from their digests. Each part is
   * read once.
   */
  const partProblems = new Map<string, readonly PartProblem[]>();
  const partsSeen = new Map<string, PartProblem | undefined>();
  function partProblemsOf(dossier: string): readonly PartProblem[] {
    return partsNamed(dossier).flatMap((digest) => {
      if (!partsSeen.has(digest)) partsSeen.set(digest, partProblem(digest, source.text('evidence', digest)));
      const problem = partsSeen.get(digest);
      return problem === undefined ? [] : [problem];
    });
  }

  const evidences = new Map<string, string | undefined>();
  function evidenceOf(id: string): string | undefined {
    if (!evidences.has(id)) {
      const text = source.text('dossier', id);
      evidences.set(id, text === undefined ? undefined : createHash('sha256').update(text).digest('hex'));
      partProblems.set(id, text === undefined ? [] : partProblemsOf(text));
    }
    return evidences.get(id);
  }

  return {
    row,
    keys,
    head: (): LogHead => ({ size: hashes.length - 1, hash: hashes.at(-1) ?? '' }),
    hashAt: (size: number) => hashes[size],
    dropped: () => new Set(lacking.filter(({ seq }) => seq <= through).map(({ seq }) => seq)).size,
    finish(): void {
      for (const { seq, id } of otherDossier) {
        if (seq <= through && (latestMatch.get(id) ?? 0) > through) continue;
        report('TRUST_LOG_TEXT_ALTERED', `the dossier ${id} is not the one that the row was made with`, seq);
      }
      for (const { seq, what } of lacking)
        if (seq > through) report('TRUST_LOG_TEXT_MISSING', `${what} is not stored, and no retention has dropped it`, seq);
      for (const id of source.verdictIds())
        if (!logged.has(id)) report('TRUST_LOG_VERDICT_UNLOGGED', `verdict ${id} is stored, and no row names it`);
    },
  };
}

interface PartProblem {
  readonly digest: string;
  /** Whether the part exists with other bytes. */
  readonly altered: boolean;
}

function partProblem(digest: string, text: string | undefined): PartProblem | undefined {
  if (text === undefined) return { digest, altered: false };
  const bytes = unpackBytes({ bytes: text, packed: 'zstd' });
  return bytes !== undefined && sha256Digest(bytes) === digest ? undefined : { digest, altered: true };
}
