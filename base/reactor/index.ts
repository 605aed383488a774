export { startReactor } from './reactor.ts';
export type { Reactor } from './reactor.ts';
