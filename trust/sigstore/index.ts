/**
 * The instances of sigstore: their trusted roots and signing configurations, and updates of the roots. For
 * programs that look after the roots, and for the conformance commands.
 */
export { signingConfigOfInstance, trustedRootOfInstance } from './instances.ts';
export { sigstoreSeeds } from './seeds.ts';
export type { SigstoreSeed } from './seeds.ts';
export { updateTrustedRoot } from './update-root.ts';
export type { UpdateRootOptions, UpdatedRoot } from './update-root.ts';
