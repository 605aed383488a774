/**
 * Decisions of a program that decides all the time: the daemon and the admission webhook. They cache
 * verdicts, must not block, and refuse an image before its evidence is gathered. It is no library: a program
 * that decides at times uses `decide` of `portcullis/trust`.
 */
export { bundleVerifications } from '../keys/remembered.ts';
export { verdictCacheKey } from './cache-key.ts';
export { createDecider, isDear } from './decider.ts';
export type { Decider } from './decider.ts';
export { decideUnseen, unseenDossier } from './decide-unseen.ts';
