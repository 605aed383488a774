import { serveFiles } from '../../followed-files/serve-files.ts';
import { limits } from './source-text.ts';
import { readServiceFile } from './read.ts';

/** Reads files of services in its own thread, so that the thread of services is not blocked. */
serveFiles(readServiceFile, limits);
