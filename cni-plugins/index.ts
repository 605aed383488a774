export { createNetworkEngine } from './attach/engine.ts';
export type { NetworkEngineOptions } from './attach/engine.ts';
export { loadNetwork } from './spec/conf-folder.ts';
export type { Attachment, AttachRequest, LinkClass, NetworkEngine, NetworkStatus, PortMapping } from './types.ts';
