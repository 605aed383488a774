export { openNodeNetwork } from './node-network.ts';
export type { NodeNetwork } from './node-network.ts';
export type { NodeNetworkStatus } from './protocol.ts';
export type { NodeNetworkSettings } from './settings.ts';
