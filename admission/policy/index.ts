/**
 * The policy of a cluster: its TrustPolicy and EntitlementProfile objects, followed and loaded together. For
 * programs that put the policy in force.
 */
export type { ClusterDocument } from './documents.ts';
export { followDocuments } from './follow-documents.ts';
export type { FollowDocumentsOptions } from './follow-documents.ts';
export { policyLimits, requireFewDocuments, requireWithinLimits } from './limits.ts';
export { failedLoad, lacksPolicy } from './status.ts';
export type { LoadResult } from './status.ts';
