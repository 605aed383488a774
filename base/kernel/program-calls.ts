import { spawnProcess } from './processes/spawn.ts';

export const programCalls = { spawnProcess };
export type ProgramCalls = typeof programCalls;
