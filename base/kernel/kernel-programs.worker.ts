import { spawnProcess } from './processes/spawn.ts';
import { serveCalls } from './worker-calls.ts';

const calls = { spawnProcess };
export type ProgramCalls = typeof calls;
serveCalls(calls);
