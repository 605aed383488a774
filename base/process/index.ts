export { startWorker } from './worker.ts';
export { connectThread, keepThread } from './thread.ts';
export type { KeptThread, Thread } from './thread.ts';
export { serveThread } from './serve-thread.ts';
export type { Blame, Caller } from './exchange.ts';
export { currentBootId, processIdentity, sameProcess } from './identity.ts';
export type { ProcessIdentity } from './identity.ts';
export { findAppArmorParser } from './apparmor-parser.ts';
export type { AppArmorParser } from './apparmor-parser.ts';
