export { createConnectionSlots } from './connection-slots.ts';
export type { ConnectionSlots, ConnectionLimits, ConnectionPlace } from './connection-slots.ts';
export { createGatherer } from './gather.ts';
export type { Gatherer } from './gather.ts';
export { closeServer, listenOn, readListenAddress, refuseTunnel } from './listen.ts';
export type { ListenAddress } from './listen.ts';
export { createHttpServer, httpGet, httpRequest, HttpAgent } from './node-http.ts';
export { networkPeer } from './peer.ts';
export { createPeerShares, reserveForResponse } from './peer-shares.ts';
export type { PeerShare, PeerShares } from './peer-shares.ts';
export {
  connectionsCheckingInterval,
  createHttpsServer,
  limitHttpConnections,
  smallRequestLimits,
} from './http-connections.ts';
export type { HttpConnections } from './http-connections.ts';
export { createTurns } from './turns.ts';
export type { Turns } from './turns.ts';
export { readBody } from './read-body.ts';
export type { Body, BodyLimits } from './read-body.ts';
export { answerOrEnd, countedStatus, endWith, sendAnswer } from './send-answer.ts';
export type { HttpAnswer } from './send-answer.ts';
