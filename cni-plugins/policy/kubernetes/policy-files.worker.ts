import { serveFiles } from '../../followed-files/serve-files.ts';
import { limits } from './documents.ts';
import { readFile } from './read.ts';

/** Reads policy files outside of the network's thread, which has pods to attach. */
serveFiles(readFile, limits);
