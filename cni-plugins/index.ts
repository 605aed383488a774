export { createNetworkEngine } from './attach/engine.ts';
export type { NetworkEngineOptions } from './attach/engine.ts';
export type { Attachment, AttachRequest, LinkClass, NetworkEngine, NetworkStatus, PortMapping } from './types.ts';
