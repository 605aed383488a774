import { countedStatements } from '../attestation/evaluate.ts';
import { predicateTypeOf } from '../attestation/predicate-types.ts';
import type { Statement } from '../attestation/statement.ts';
import type { EvaluationContext, Evidence } from '../findings/evaluation.ts';
import { recordOf } from '../json/strict-json.ts';
import type { AttestationRequirement, Requirement, TrustRule } from '../requirements/types.ts';

/** Which SLSA build level each builder reaches, by its id (SLSA specification, "Verifying artifacts"). */
export type BuilderLevels = ReadonlyMap<string, number>;

/** The level of an image whose build nobody has judged (VSA, SlsaResult). */
export const unevaluated = 'SLSA_BUILD_LEVEL_UNEVALUATED';

const provenanceTypes: readonly (string | undefined)[] = ['slsaprovenance1', 'slsaprovenance02'].map(
  predicateTypeOf,
);

/**
 * Returns the levels that a decision verified. A build level is verified only if a rule demands provenance,
 * the provenance counts, and its builder is in the list. Pure.
 */
export function verifiedLevels(
  rules: readonly TrustRule[],
  evidence: Evidence,
  context: EvaluationContext,
  builders: BuilderLevels,
): readonly string[] {
  // A service has no list, and must not be blocked by the statements.
  if (builders.size === 0) return [unevaluated];
  const demands = rules.flatMap(({ require }) => (require === undefined ? [] : provenanceOf(require)));
  const levels = demands
    .flatMap((demand) => countedStatements(demand, evidence, context))
    .flatMap((statement) => builders.get(builderOf(statement) ?? '') ?? []);
  const highest = levels.reduce((most, level) => Math.max(most, level), 0);
  return [highest === 0 ? unevaluated : `SLSA_BUILD_LEVEL_${highest}`];
}

function provenanceOf(requirement: Requirement): readonly AttestationRequirement[] {
  if ('of' in requirement) return requirement.of.flatMap(provenanceOf);
  return requirement.kind === 'attestation' && provenanceTypes.includes(requirement.predicateType)
    ? [requirement]
    : [];
}

function builderOf({ predicate }: Statement): string | undefined {
  const record = recordOf(predicate);
  const builder = recordOf(recordOf(record?.['runDetails'])?.['builder']) ?? recordOf(record?.['builder']);
  const id = builder?.['id'];
  return typeof id === 'string' ? id : undefined;
}
