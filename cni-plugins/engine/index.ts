export { createNetworkEngine, openPluginEngine } from './engine.ts';
export type { NetworkEngineOptions, PluginEngine } from './engine.ts';
