// The order counts: a Worker that is terminated while it loads a native module aborts the whole process.
import './hold-while-loading.ts';
import koffi from 'koffi';
import { releaseTermination } from './termination.ts';

releaseTermination();

/** Calls of C libraries. No other file of the product imports the package. */
export { koffi };
