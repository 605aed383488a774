/**
 * The daemon and its Workers as whole programs: one file each, without chunks. From chunks, the daemon needs
 * a quarter more processor time until its first answer, and 13 MB more memory (docs/decisions/0140).
 */
import { basename, join } from 'node:path';
import type { Plugin } from 'esbuild';

const root = join(import.meta.dirname, '..');

/** Returns the name of a whole program in the folder of the bundle, without `.js`. */
export const wholeName = (name: string): string => `${name}.whole`;

/** The folder of the files that whole programs start as Workers (base/process/worker.ts). */
export const wholeWorkers = 'whole-workers';

/** Returns whether a file of the bundle, by its path in it, belongs to the whole programs. */
export const isWholeProgram = (path: string): boolean =>
  path.startsWith(`${wholeWorkers}/`) || path.includes('.whole.js');

/**
 * Loads most of its code only when a pull needs it: as a whole program, it would read all of it at the start.
 */
const inChunks = 'layer.worker.ts';

export const isWholeWorker = (source: string): boolean => basename(source) !== inChunks;

/** Leaves every command but its own out of the daemon's program, which is never called for another one. */
export const daemonAlone: Plugin = {
  name: 'daemon-alone',
  setup: ({ onResolve }) =>
    onResolve({ filter: /^\.\// }, ({ importer, kind, path }) =>
      kind === 'dynamic-import' && importer === join(root, 'cli/commands.ts') && path !== './daemon.ts'
        ? { path: './portcullis.js', external: true }
        : undefined,
    ),
};
