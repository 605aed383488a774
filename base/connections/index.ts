export { createConnectionGate } from './gate.ts';
export type { ConnectionGate, ConnectionLimits, ConnectionPlace } from './gate.ts';
export { createGatherer } from './gather.ts';
export type { Gatherer } from './gather.ts';
export { networkPeer } from './peer.ts';
export { connectionsCheckingInterval, openHttpDoor } from './http-door.ts';
export type { HttpDoor } from './http-door.ts';
export { createTurns } from './turns.ts';
export type { Turns } from './turns.ts';
