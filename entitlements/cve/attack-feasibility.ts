import { answer } from '../explain/answer.ts';
import type { Answer } from '../explain/answer.ts';
import { parseQuestion } from '../explain/question.ts';
import { entitlementsError } from '../errors.ts';
import type { Operand } from '../import/operand.ts';
import type { Profile } from '../profile/model.ts';
import table from './table.json' with { type: 'json' };

/** A known attack, and the kernel interfaces that it needs. */
export interface Attack {
  /** A CVE number, or the name of an attack that has none. */
  readonly id: string;
  readonly name: string;
  /** The flaw, in a sentence. */
  readonly what: string;
  /** Lists of questions. The attack is possible only if, in each list, at least one answer is yes. */
  readonly needs: readonly (readonly string[])[];
  /** Why no profile affects the attack. `needs` is empty then. */
  readonly beyond?: string;
  readonly remark?: string;
  readonly sources: readonly string[];
}

/** Whether the needs of an attack are met under a profile. */
export interface Judgement {
  readonly id: string;
  readonly name: string;
  readonly what: string;
  /**
   * out of reach: one need cannot be met, which is proved. within reach: every need can be met, each with a
   * witness.
   */
  readonly verdict: 'beyond profiles' | 'out of reach' | 'within reach';
  /** out of reach: what blocks the attack. within reach: how each need is met. */
  readonly reasons: readonly string[];
  /** The questions and their answers. */
  readonly answers: readonly Answer[];
  readonly remark?: string;
  readonly sources: readonly string[];
}

const ATTACKS: readonly Attack[] = table.entries;

/**
 * Judges attacks against a profile. Each need is a question to the exact engine: a no is a proof over all
 * programs, and a yes comes with a witness. It does not check whether the kernel has the flaw.
 * @param ids entries of the table; empty: all
 * @throws ENTITLEMENTS_BAD_QUESTION for an id that is not in the table
 */
export function explainAttacks({ profile }: Operand, ids: readonly string[]): Judgement[] {
  const wanted = ids.map((id) => id.toLowerCase());
  const missing = ids.filter((id) => !ATTACKS.some((attack) => attack.id.toLowerCase() === id.toLowerCase()));
  if (missing.length > 0) throw unknown(missing);
  return ATTACKS.filter(({ id }) => wanted.length === 0 || wanted.includes(id.toLowerCase())).map((attack) =>
    judge(profile, attack),
  );
}

function judge(profile: Profile, { id, name, what, needs, beyond, remark, sources }: Attack): Judgement {
  const rest = { ...(remark === undefined ? {} : { remark }), sources };
  if (beyond !== undefined)
    return { id, name, what, verdict: 'beyond profiles', reasons: [beyond], answers: [], ...rest };
  const asked = needs.map((questions) => questions.map((text) => answer(profile, parseQuestion(text))));
  const answers = asked.flat();
  const unmet = asked.filter((alternatives) => alternatives.every(({ yes }) => !yes));
  const reasons =
    unmet.length > 0
      ? unmet.flatMap((alternatives) => alternatives.flatMap((one) => one.reasons))
      : asked.flatMap((alternatives) => alternatives.find(({ yes }) => yes)?.reasons ?? []);
  return {
    id,
    name,
    what,
    verdict: unmet.length > 0 ? 'out of reach' : 'within reach',
    reasons: [...new Set(reasons)],
    answers,
    ...rest,
  };
}

/** Describes judgements as text, one paragraph each. */
export function describeJudgements(judgements: readonly Judgement[], profile: string): string {
  const count = (verdict: Judgement['verdict']): number =>
    judgements.filter((one) => one.verdict === verdict).length;
  const each = judgements.map(
    ({ id, name, verdict, what, reasons, remark }) =>
      `${id} (${name}): ${verdict}\n  ${what}\n${reasons.map((reason) => `  ${reason}\n`).join('')}${remark === undefined ? '' : `  ${remark}\n`}`,
  );
  const summary = `under ${profile}: ${count('out of reach')} out of reach (proved), ${count('within reach')} within reach if the kernel has the flaw, ${count('beyond profiles')} beyond profiles\n`;
  return [...each, summary].join('');
}

function unknown(ids: readonly string[]): Error {
  return entitlementsError('ENTITLEMENTS_BAD_QUESTION', {
    kind: 'invalid',
    attempted: 'find attack',
    on: ids.join(', '),
    why: 'the table has no such entry',
    fix: `ask for one of: ${ATTACKS.map(({ id }) => id).join(', ')}`,
  });
}
