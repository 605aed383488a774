export { startWorker } from './worker.ts';
export { currentBootId, processIdentity, sameProcess } from './identity.ts';
export type { ProcessIdentity } from './identity.ts';
export { findAppArmorParser } from './apparmor-parser.ts';
export type { AppArmorParser } from './apparmor-parser.ts';
