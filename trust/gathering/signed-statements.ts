import { withoutConstraints, attesting } from '../attestation/authorities.ts';
import { countedStatements } from '../attestation/evaluate.ts';
import { canonicalJson } from '../json/canonical-json.ts';
import { matchRules } from '../policy/matching.ts';
import { normaliseReference } from '../requirements/named-images.ts';
import type { AttestationRequirement, TrustRule } from '../requirements/types.ts';
import type { GatherInput } from '../evidence/gather-input.ts';
import { gather } from './gather.ts';

/** Which statements to find, and for which image. The policy must have admitted the image already. */
export interface SignedStatementsInput extends Omit<GatherInput, 'signed' | 'decider'> {
  /** Empty when there is no namespace. */
  readonly namespace: string;
  readonly predicateType: string;
  /** Bytes of the largest attestation that is read. */
  readonly maxSize: number;
}

/**
 * Finds the statements of one predicate type about an admitted image that the policy believes: each rule that
 * matches the image and requires evidence must have an authority (a key, an identity) that has signed the
 * statement about the image's index or manifest. Rules without evidence believe nobody, so an image that only
 * they admit has no statements. Changes no verdict.
 * @returns the predicates, as signed
 * @throws PortcullisError `DISTRIBUTION_BAD_REFERENCE`; the signal's reason when the caller aborts
 */
export async function signedStatements(input: SignedStatementsInput): Promise<readonly unknown[]> {
  const { predicateType, maxSize, namespace, policy, now, ...image } = input;
  const reference = normaliseReference(input.reference);
  const rules = matchRules(policy, reference, namespace).requiring;
  const demands = rules.map((rule) => demandsOf(rule, predicateType, maxSize));
  if (demands.length === 0 || demands.some((each) => each.length === 0)) return [];
  const asking = rules.map((rule, at): TrustRule => {
    const { require: _ofContainers, ...ceiling } = rule.ceiling;
    return { ...rule, ceiling, require: { kind: 'any', of: demands[at] ?? [] } };
  });
  const dossier = await gather({ ...image, policy: { ...policy, rules: asking }, now });
  const context = { now, reference: reference.text };
  const believed = demands.map(
    (each) =>
      new Map(
        each
          .flatMap((demand) => countedStatements(demand, dossier, context))
          .map(({ predicate }) => [canonicalJson(predicate), predicate]),
      ),
  );
  const [first = new Map<string, unknown>(), ...others] = believed;
  return [...first].filter(([key]) => others.every((each) => each.has(key))).map(([, value]) => value);
}

function demandsOf(rule: TrustRule, predicateType: string, maxSize: number): AttestationRequirement[] {
  const authorities = rule.require === undefined ? [] : attesting(rule.require).map(withoutConstraints);
  const distinct = new Map(authorities.map((by) => [JSON.stringify(by), by]));
  return [...distinct.values()].map((by) => ({
    kind: 'attestation',
    predicateType,
    by,
    cel: [],
    maxSize,
    optional: true,
  }));
}
