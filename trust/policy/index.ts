/**
 * Trust policies as documents: for programs that check, show, format or create them, and that keep the text
 * of a policy themselves. A program that only decides by a policy uses `loadPolicy` of `portcullis/trust`.
 */
export { policyInvalid, policyRevision, readPolicy } from './load.ts';
export type { OtherDocument, PolicySources } from './load.ts';
export { mayAdmit } from './matching.ts';
export {
  exceptsItself,
  matchesAnyRegistry,
  ruleMatchesNamespace,
  ruleMatchesReference,
  shadowOf,
} from './coverage.ts';
export { standingExceptions } from './break-glass.ts';
export type { StandingException } from './break-glass.ts';
export { trustPolicySchema } from './schema.ts';
export { formatPolicy } from './format.ts';
export { defaultImages, starterPolicy, starterPolicyFiles, writeStarterPolicy } from './starter.ts';
export { parseDuration } from '../requirements/duration.ts';
