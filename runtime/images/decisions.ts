import type { Statement } from '../../base/storage/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import { decide, decideUnseen, explainReason, verdictLogStatement } from '../../trust/index.ts';
import type { Dossier, Platform, Reason, TrustPolicy, Verdict } from '../../trust/index.ts';
import { imageError } from './failures.ts';

/** One question to the policy. */
export interface Question {
  readonly dossier: Dossier;
  /** Normalised. */
  readonly reference: string;
  readonly namespace: string;
  readonly platform: Platform;
}

export interface Decisions {
  /** The policy in force. Throws IMAGES_NO_POLICY when there is none. */
  policy(attempted: string, on: string): TrustPolicy;
  /** A verdict that no evidence could turn, before anything is fetched; undefined when evidence could admit. */
  unseen(policy: TrustPolicy, question: Omit<Question, 'dossier'>): Verdict | undefined;
  decide(policy: TrustPolicy, question: Question): Verdict;
  /**
   * The verdict on a recorded image: the same inputs give the verdict that was given before, as long as it is valid.
   * Key: design section 3. `log` holds the statement that must be durable before the verdict is used; undefined when it is already.
   */
  again(policy: TrustPolicy, question: Question): { readonly verdict: Verdict; readonly log: Statement | undefined };
  /** The verdict's log statement is durable. */
  logged(verdict: Verdict): void;
}

const cacheSize = 4096;

export function createDecisions(options: { readonly policy: () => TrustPolicy | undefined; readonly now: () => Date }): Decisions {
  const { now } = options;
  const cache = new Map<string, Verdict>();
  const inLog = new Set<string>();
  const answer = (policy: TrustPolicy, question: Question): Verdict => decide({ ...question, policy, now: now() });

  return {
    policy(attempted, on) {
      const policy = options.policy();
      if (policy !== undefined) return policy;
      throw imageError({
        code: 'IMAGES_NO_POLICY',
        kind: 'denied',
        attempted,
        on,
        why: 'there is no valid trust policy, and without one nothing is admitted',
        fix: 'correct the files given as --policy; the log of the daemon names each mistake',
        prefix: 'SignatureValidationFailed',
      });
    },
    unseen: (policy, question) => decideUnseen({ ...question, policy, now: now() }),
    decide: answer,
    again(policy, question) {
      const { dossier, reference, namespace, platform } = question;
      const key = JSON.stringify([dossier.manifestDigest, reference, namespace, platform, policy.revision, dossier.id]);
      let verdict = cache.get(key);
      if (verdict === undefined || (verdict.validUntil !== undefined && Date.parse(verdict.validUntil) <= now().getTime())) {
        verdict = answer(policy, question);
        if (cache.size >= cacheSize) cache.clear();
        cache.set(key, verdict);
      }
      return { verdict, log: inLog.has(verdict.id) ? undefined : verdictLogStatement(verdict) };
    },
    logged(verdict) {
      if (inLog.size >= cacheSize) inLog.clear();
      inLog.add(verdict.id);
    },
  };
}

/** The failure that a verdict other than admit is, with the whole tree of reasons. */
export function refusal(verdict: Verdict, attempted: string): PortcullisError {
  const undecided = verdict.outcome === 'undecided';
  const rule = firstRefusingRule(verdict.reasons);
  return imageError({
    code: undecided ? 'IMAGES_UNDECIDED' : 'IMAGES_DENIED',
    kind: undecided ? 'undecided' : 'denied',
    attempted,
    on: verdict.reference,
    why: explainReason(verdict.reasons).trimEnd(),
    fix: undecided
      ? 'make the sources of evidence reachable and try again'
      : 'sign the image with a key that the policy names, or change the policy',
    prefix: 'SignatureValidationFailed',
    details: {
      verdictId: verdict.id,
      outcome: verdict.outcome,
      ...(verdict.digest === '' ? {} : { digest: verdict.digest }),
      ...(rule === undefined ? {} : { rule }),
      policyRevision: verdict.policyRevision,
      reasons: verdict.reasons,
    },
  });
}

/** `FILE:LINE` of the first rule that did not admit. The rule's text begins "rule FILE:LINE (". */
function firstRefusingRule(reason: Reason): string | undefined {
  if (reason.code?.startsWith('TRUST_RULE_') === true && !reason.counted) {
    const name = /^rule (.+?) (\(|does )/.exec(reason.text)?.[1];
    if (name !== undefined) return name;
  }
  for (const child of reason.children ?? []) {
    const name = firstRefusingRule(child);
    if (name !== undefined) return name;
  }
  return undefined;
}
