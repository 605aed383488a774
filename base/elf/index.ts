export { assembleExecutable, callWith, words } from './executable.ts';
export type { Constants, Machine, Place } from './executable.ts';
export { launcherArguments } from './launcher-arguments.ts';
export type { Assembler, Register } from './assembler.ts';
