export { startReactor } from './reactor.ts';
export type { Reactor } from './reactor.ts';
export { startChild } from './child.ts';
export type { Child } from './child.ts';
