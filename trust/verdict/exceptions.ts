import { inForce } from '../policy/break-glass.ts';
import type { PolicyException } from '../findings/types.ts';
import type { TrustRule } from '../requirements/types.ts';
import { earliest } from '../findings/evaluation.ts';
import type { Evaluation } from '../findings/evaluation.ts';

/** The result of a rule, with the exceptions that led to it. */
export interface RuleEvaluation extends Evaluation {
  readonly exceptions: readonly PolicyException[];
}

/**
 * Applies the exceptions of a rule: its refusal has no effect while its `breakGlass` is in force, or when the
 * rule only reports. The refusal stays in the tree of reasons, below a sentence that says why the image was
 * admitted. Only the policy can make an exception; an image or a pod cannot.
 */
export function holdRule(rule: TrustRule, evaluation: Evaluation, now: Date): RuleEvaluation {
  if (evaluation.answer === 'yes') return { ...evaluation, exceptions: [] };
  const wouldBe = evaluation.answer === 'no' ? 'deny' : 'undecided';
  const { breakGlass } = rule;
  if (inForce(breakGlass, now)) {
    const exception = { kind: 'break-glass', rule: rule.name, wouldBe, ...breakGlass } as const;
    return admitted(
      evaluation,
      exception,
      'TRUST_BREAK_GLASS',
      earliest([breakGlass.until, evaluation.validUntil]),
    );
  }
  if (rule.mode === 'report')
    return admitted(
      evaluation,
      { kind: 'report', rule: rule.name, wouldBe },
      'TRUST_REPORT_ONLY',
      evaluation.validUntil,
    );
  return { ...evaluation, exceptions: [] };
}

function admitted(
  evaluation: Evaluation,
  exception: PolicyException,
  code: string,
  validUntil: string | undefined,
): RuleEvaluation {
  return {
    answer: 'yes',
    reason: { counted: true, text: describeException(exception), code, children: [evaluation.reason] },
    exceptions: [exception],
    ...(evaluation.requested === undefined ? {} : { requested: evaluation.requested }),
    ...(validUntil === undefined ? {} : { validUntil }),
  };
}

/** Describes the exception in one clear sentence. */
export function describeException({
  kind,
  rule,
  wouldBe,
  until = '',
  reason = '',
  by = '',
}: PolicyException): string {
  const word = wouldBe === 'deny' ? 'denies' : 'cannot decide about';
  return kind === 'break-glass'
    ? `BREAK GLASS: rule ${rule} ${word} this image, and it is admitted until ${until}: ${reason} (${by})`
    : `REPORT ONLY: rule ${rule} ${word} this image, and it is admitted because the rule only reports`;
}
