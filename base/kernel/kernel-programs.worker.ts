import { programCalls } from './program-calls.ts';
import { serveCalls } from './worker-calls.ts';

serveCalls(programCalls);
