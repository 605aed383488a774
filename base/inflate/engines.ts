import type { Engine } from './engine.ts';
import { createIsalEngine } from './isal-engine.ts';
import { findIsal } from './isal-library.ts';
import { findNodeEngines } from './node-engine.ts';

/** The implementation that inflates gzip on this machine. */
export interface GzipInflater {
  /** The file of libisal; undefined: Node. */
  readonly library: string | undefined;
  /** Why libisal is not used; empty if it is. */
  readonly why: string;
}

/** Returns what inflates gzip in this process. Loads the library, and tries it. */
export function gzipInflater(): GzipInflater {
  const found = findIsal();
  return 'isal' in found ? { library: found.isal.path, why: '' } : { library: undefined, why: found.why };
}

/** Returns the start of the quickest engine for gzip; undefined: only Node's streams can inflate it. */
export function gzipEngine(): (() => Engine) | undefined {
  const found = findIsal();
  return 'isal' in found ? () => createIsalEngine(found.isal) : findNodeEngines()?.gzip;
}

/**
 * Returns the start of the quickest engine for zstd; undefined: only Node's streams can decompress it.
 * @param windowLog base-2 logarithm of the largest window that a frame may claim
 */
export function zstdEngine(windowLog: number): (() => Engine) | undefined {
  const found = findNodeEngines();
  return found === undefined ? undefined : () => found.zstd(windowLog);
}
