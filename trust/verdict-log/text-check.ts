import { createHash } from 'node:crypto';
import { parseJson } from '../../base/json/index.ts';
import { canonicalDigest, sha256Digest } from '../json/canonical-json.ts';
import { partsNamed } from '../evidence/evidence-parts.ts';
import { unpackBytes } from '../evidence/byte-packing.ts';
import { recordOf } from '../json/strict-json.ts';
import type { LogRow } from './chain.ts';
import type { VerdictEntry } from './entry.ts';
import type { ReportProblem } from './problem.ts';
import type { LogSource } from './source.ts';

/** Compares stored texts (verdicts, policies, dossiers, their parts) with the digests in the rows. */
export interface TextCheck {
  /** Checks the texts of one row. */
  verdict(row: LogRow, entry: VerdictEntry): void;
  /** Reports what depends on the whole log. @param through the last row whose texts retention has dropped */
  finish(through: number): void;
  /** Returns the number of rows whose texts retention has dropped. */
  dropped(through: number): number;
}

/** Reads each text once. */
export function createTextCheck(source: LogSource, report: ReportProblem): TextCheck {
  const seenTexts = new Map<string, string | undefined>();
  const logged = new Set<string>();
  const lacking: { readonly seq: number; readonly what: string }[] = [];
  const dossiers = createDossiers(source);

  const digestOf = (kind: 'verdict' | 'policy', id: string): string | undefined => {
    const key = `${kind} ${id}`;
    if (!seenTexts.has(key)) {
      const text = source.text(kind, id);
      seenTexts.set(key, text === undefined ? undefined : sha256Digest(text));
    }
    return seenTexts.get(key);
  };

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
      else if (policy !== entry.policy)
        report('TRUST_LOG_TEXT_ALTERED', `the policy ${entry.policy} has the digest ${policy}`, seq);
    }
    if (evidence === '') return;
    const dossier = dossiers.digestOf(entry.dossier);
    if (dossier === undefined) lacking.push({ seq, what: `the dossier ${entry.dossier}` });
    else if (dossier !== evidence) otherDossier.push({ seq, id: entry.dossier });
    else latestMatch.set(entry.dossier, seq);
    for (const problem of dossiers.partProblems(entry.dossier)) {
      if (problem.altered)
        report('TRUST_LOG_TEXT_ALTERED', `the evidence ${problem.digest} does not match its digest`, seq);
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
    const key = canonicalDigest([
      entry.verdict,
      outcome,
      reference,
      namespace,
      digest,
      dossier,
      policyRevision,
    ]);
    if (compared.has(key)) return;
    compared.add(key);
    const text = recordOf(parseJson(source.text('verdict', entry.verdict) ?? 'null'));
    const differs = Object.entries({
      outcome,
      reference,
      namespace,
      digest,
      dossierId: dossier,
      policyRevision,
    }).find(([name, value]) => text?.[name] !== value);
    if (differs !== undefined)
      report('TRUST_LOG_TEXT_ALTERED', `row ${seq} and its verdict differ in ${differs[0]}`, seq);
  }

  return {
    verdict,
    finish(through) {
      for (const { seq, id } of otherDossier) {
        if (seq <= through && (latestMatch.get(id) ?? 0) > through) continue;
        report('TRUST_LOG_TEXT_ALTERED', `the dossier ${id} is not the one that the row was made with`, seq);
      }
      for (const { seq, what } of lacking)
        if (seq > through)
          report('TRUST_LOG_TEXT_MISSING', `${what} is not stored, and no retention has dropped it`, seq);
      for (const id of source.verdictIds())
        if (!logged.has(id))
          report('TRUST_LOG_VERDICT_UNLOGGED', `verdict ${id} is stored, and no row names it`);
    },
    dropped: (through) => new Set(lacking.filter(({ seq }) => seq <= through).map(({ seq }) => seq)).size,
  };
}

/** The dossiers of a log, each read once. */
interface Dossiers {
  /** Returns the digest of a dossier's text; undefined: it is not stored. */
  digestOf(id: string): string | undefined;
  /** Returns the problems with the parts that the dossier keeps apart. */
  partProblems(id: string): readonly PartProblem[];
}

interface PartProblem {
  readonly digest: string;
  /** Whether the part exists with other bytes. */
  readonly altered: boolean;
}

function createDossiers(source: LogSource): Dossiers {
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
  function digestOf(id: string): string | undefined {
    if (!evidences.has(id)) {
      const text = source.text('dossier', id);
      evidences.set(id, text === undefined ? undefined : createHash('sha256').update(text).digest('hex'));
      partProblems.set(id, text === undefined ? [] : partProblemsOf(text));
    }
    return evidences.get(id);
  }

  return { digestOf, partProblems: (id) => partProblems.get(id) ?? [] };
}

function partProblem(digest: string, text: string | undefined): PartProblem | undefined {
  if (text === undefined) return { digest, altered: false };
  const bytes = unpackBytes({ bytes: text, packed: 'zstd' });
  return bytes !== undefined && sha256Digest(bytes) === digest ? undefined : { digest, altered: true };
}
