export { startNameServer } from './name-server.ts';
export type { NameServer } from './name-server.ts';
export type { NameFigures, NameServerSettings } from './protocol.ts';
