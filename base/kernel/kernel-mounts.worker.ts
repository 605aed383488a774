import { mountCalls } from './mount-calls.ts';
import { serveCalls } from './worker-calls.ts';

serveCalls(mountCalls);
