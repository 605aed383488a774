import { PortcullisError } from '../../base/errors/index.ts';
import type { ClusterDocument } from './documents.ts';

/** The limits of a policy release (docs/policy-delivery.md) apply to objects, too. */
export const policyLimits = { files: 1000, bytes: 8 * 1024 * 1024 } as const;

/**
 * Refuses a policy that has too many parts.
 * @param on the source of the policy
 * @param count of objects and of the files that they may name
 * @throws PortcullisError `POLICY_OBJECTS_TOO_LARGE` when there are more than a policy may have
 */
export function requireWithinLimits(on: string, count: number, bytes: number): void {
  if (count <= policyLimits.files && bytes <= policyLimits.bytes) return;
  throw new PortcullisError({
    code: 'POLICY_OBJECTS_TOO_LARGE',
    kind: 'exhausted',
    attempted: 'load the policies of the cluster',
    on,
    why: `they have ${count} objects and files with ${bytes} bytes, and a policy may have at most ${policyLimits.files} with ${policyLimits.bytes}`,
    fix: 'remove objects or files that are not needed; until then, the policy in force stays',
  });
}

/**
 * Refuses objects that are too many or too large, whatever files they name.
 * @throws PortcullisError `POLICY_OBJECTS_TOO_LARGE`
 */
export function requireFewDocuments(documents: readonly ClusterDocument[]): void {
  const bytes = documents.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0);
  requireWithinLimits('the cluster', documents.length, bytes);
}
