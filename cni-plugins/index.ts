export { createNetworkEngine, openPluginEngine } from './attach/engine.ts';
export type { NetworkEngineOptions, PluginEngine } from './attach/engine.ts';
export type { CallPlugin, Caller, PluginCall } from './attach/plugin-call.ts';
export { loadNetwork } from './spec/conf-folder.ts';
export type {
  Attachment,
  AttachRequest,
  Denial,
  LinkClass,
  LinkPolicy,
  LinkRule,
  LinkRules,
  NetworkEngine,
  NetworkStatus,
  PortMapping,
} from './types.ts';
