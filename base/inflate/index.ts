export { inflateChunks, readChunks } from './inflate.ts';
export { Refused } from './engine.ts';
export type { Engine } from './engine.ts';
export { createGzipHeader } from './gzip-header.ts';
export { gzipEngine, gzipInflater, zstdEngine } from './engines.ts';
export type { GzipInflater } from './engines.ts';
export { freeBuffer } from './free-buffer.ts';
export { isZstd } from './zstd-magic.ts';
