export { createConnectionGate } from './gate.ts';
export type { ConnectionGate, ConnectionLimits, ConnectionPlace } from './gate.ts';
export { createGatherer } from './gather.ts';
export type { Gatherer } from './gather.ts';
export { networkPeer } from './peer.ts';
export { connectionsCheckingInterval, limitHttpConnections } from './http-connections.ts';
export type { HttpConnections } from './http-connections.ts';
export { createTurns } from './turns.ts';
export type { Turns } from './turns.ts';
