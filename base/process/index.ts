export { startWorker } from './worker.ts';
export { currentBootId, processIdentity, sameProcess } from './identity.ts';
export type { ProcessIdentity } from './identity.ts';
