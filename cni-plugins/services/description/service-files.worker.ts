import { serveFiles } from '../../followed-files/serve-files.ts';
import { limits } from './source-text.ts';
import { readServiceFile } from './read.ts';

/** Reads files of services beside the thread of services, which balances meanwhile. */
serveFiles(readServiceFile, limits);
