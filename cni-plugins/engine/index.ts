export { createNetworkEngine, openPluginEngine } from './engine.ts';
export type { NetworkEngineOptions, PluginEngine } from './engine.ts';
export { loadEngineThreadEarly } from './thread/engine-thread.ts';
export type { EngineThreadLoader } from './thread/engine-thread.ts';
