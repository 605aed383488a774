export { createNetworkEngine, openPluginEngine } from './engine.ts';
export type { NetworkEngineOptions, PluginEngine } from './engine.ts';
export { loadEngineThread } from './thread/engine-thread.ts';
export type { LoadedEngineThread } from './thread/engine-thread.ts';
