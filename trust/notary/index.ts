/**
 * The trust service, which stores collections of signed metadata: for programs that run one.
 */
export { startTrustService } from './trust-service.ts';
export type { TrustService, TrustServiceOptions } from './trust-service.ts';
