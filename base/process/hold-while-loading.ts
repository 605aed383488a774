import { holdTermination } from './termination.ts';

// Evaluated before the native module that `koffi.ts` imports after it.
holdTermination();
