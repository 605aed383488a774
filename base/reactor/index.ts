export { startReactor } from './reactor.ts';
export type { Reactor } from './reactor.ts';
export { programStarter } from './child.ts';
export type { Child, StartProgram } from './child.ts';
