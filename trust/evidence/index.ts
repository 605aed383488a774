/**
 * Evidence that a program keeps: for programs that gather often, store dossiers in parts and renew them,
 * such as the daemon. A program that gathers and decides once uses `gather` of `portcullis/trust`.
 */
export { createNegativeCache } from './negative-cache.ts';
export type { NegativeCache, KnownAbsent } from './negative-cache.ts';
export { signedStatements } from '../gathering/signed-statements.ts';
export type { SignedStatementsInput } from '../gathering/signed-statements.ts';
export { lackingParts, withParts, withoutParts } from './evidence-parts.ts';
export { sealDossier } from './dossier.ts';
export { keepAnswers } from './fact-answers.ts';
export type { KeptAnswers } from './fact-answers.ts';
export { evidenceStanding, renewEvidence } from '../gathering/renew.ts';
export type { EvidenceStanding, RenewInput } from '../gathering/renew.ts';
export { chunkIndexPredicateType } from '../attestation/predicate-types.ts';
export { canonicalJson } from '../json/canonical-json.ts';
export { previousAnswer } from '../tuf-requirement/previous-answer.ts';
export type { SignedReference } from './signed-reference.ts';
