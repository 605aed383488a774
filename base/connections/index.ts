export { createConnectionGate } from './gate.ts';
export type { ConnectionGate, ConnectionLimits, ConnectionPlace } from './gate.ts';
export { createGatherer } from './gather.ts';
export type { Gatherer } from './gather.ts';
export { networkPeer } from './peer.ts';
