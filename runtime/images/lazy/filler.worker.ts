/**
 * The filler: a process of its own that outlives the daemon. It fills the files of layers that are started
 * lazily, and answers the kernel before each read of these files. `workerData` is not used: it is the first
 * argument of a program, the path of its socket.
 */
import { runFiller } from './filler.ts';

await runFiller(process.argv[2] ?? '');
