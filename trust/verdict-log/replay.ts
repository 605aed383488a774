import { parseJson } from '../../base/json/index.ts';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { withParts } from '../evidence/evidence-parts.ts';
import type { Dossier, Verdict } from '../findings/types.ts';
import type { TrustPolicy } from '../requirements/types.ts';
import { decide } from '../verdict/decide.ts';
import { prepareDecision } from '../verdict/prepare.ts';
import type { LoggedVerdict } from './find.ts';
import type { LogSource } from './source.ts';
import { policyText } from '../policy/policy-text.ts';
import { decisionText, verdictBytes } from './texts.ts';

/** The complete input of a verdict, as texts. */
interface ReplayInput {
  readonly id: string;
  readonly decidedAt: string;
  readonly verdict: string;
  readonly dossier: string;
  readonly policy: string;
}

export interface Replay {
  /** Whether the bytes of the new verdict equal the recorded ones. */
  readonly equal: boolean;
  /**
   * Whether the verdicts are equal apart from the sentences of their reasons, which another version may word
   * differently.
   */
  readonly sameDecision: boolean;
  readonly recorded: Verdict;
  readonly replayed: Verdict;
  readonly recordedBytes: string;
  readonly replayedBytes: string;
}

/**
 * Decides a logged verdict again, only from stored texts: no network, no clock, no file.
 * @param policy for rows of versions that stored none; its revision must be that of the row
 * @throws PortcullisError `TRUST_REPLAY_INCOMPLETE` when a text is not stored (any more),
 * `TRUST_REPLAY_UNREADABLE` when a text is malformed
 */
export async function replayLogged(
  source: LogSource,
  { row, entry }: LoggedVerdict,
  policy?: TrustPolicy,
): Promise<Replay> {
  const verdict = source.text('verdict', entry.verdict);
  const kept = source.text('dossier', entry.dossier);
  const dossier = kept === undefined ? undefined : withEvidence(kept, source);
  const stored = entry.policy === '' ? undefined : source.text('policy', entry.policy);
  const given = policy?.revision === entry.policyRevision ? policyText(policy).json : undefined;
  const lacking = [
    verdict === undefined && 'verdict',
    dossier === undefined && 'dossier',
    (stored ?? given) === undefined && 'policy',
  ].filter(Boolean);
  if (verdict === undefined || dossier === undefined || (stored ?? given) === undefined) {
    throw new PortcullisError({
      code: 'TRUST_REPLAY_INCOMPLETE',
      kind: 'precondition',
      attempted: 'replay verdict',
      on: `${entry.verdict} (row ${row.seq})`,
      why: `the log does not contain its ${lacking.join(' and ')}: ${entry.policy === '' ? 'it was recorded by a version that stored no policies' : 'the configured retention has dropped it'}`,
      fix:
        entry.policy === ''
          ? `name the policy of revision ${entry.policyRevision}: --policy FILE`
          : 'replay an export that was made before',
    });
  }
  return replayVerdict({
    id: entry.verdict,
    decidedAt: entry.decidedAt,
    verdict,
    dossier,
    policy: stored ?? given ?? '',
  });
}

/**
 * Decides again from texts.
 * @throws PortcullisError `TRUST_REPLAY_UNREADABLE` when a text is malformed
 */
export async function replayVerdict(input: ReplayInput): Promise<Replay> {
  try {
    const recorded: Verdict = {
      ...(parse(input.verdict, 'verdict') as Omit<Verdict, 'id' | 'decidedAt'>),
      decidedAt: input.decidedAt,
      id: input.id,
    };
    const dossier = parse(input.dossier, 'dossier') as Dossier;
    const policy = parse(input.policy, 'policy') as TrustPolicy;
    await prepareDecision(policy);
    const { reference, namespace, platform } = recorded;
    const replayed = decide({
      dossier,
      reference,
      namespace,
      platform,
      policy,
      now: new Date(input.decidedAt),
    });
    const [recordedBytes, replayedBytes] = [verdictBytes(recorded), verdictBytes(replayed)];
    const equal = recordedBytes === replayedBytes;
    const sameDecision = decisionText(recorded) === decisionText(replayed);
    return { equal, sameDecision, recorded, replayed, recordedBytes, replayedBytes };
  } catch (error) {
    throw new PortcullisError({
      code: 'TRUST_REPLAY_UNREADABLE',
      kind: 'data-loss',
      attempted: 'replay verdict',
      on: input.id,
      why: `what was recorded cannot be decided again: ${reasonOf(error)}`,
      fix: 'check the log: portcullis verdicts verify',
      cause: error,
    });
  }
}

/** Adds the parts that the dossier keeps apart: large texts that many verdicts share. */
function withEvidence(text: string, source: LogSource): string {
  try {
    return JSON.stringify(withParts(parseJson(text) as Dossier, (digest) => source.text('evidence', digest)));
  } catch {
    return text;
  }
}

function parse(text: string, what: string): object {
  const value: unknown = parseJson(text);
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw new Error(`its ${what} is not a JSON object`);
  return value;
}
