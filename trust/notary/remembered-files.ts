import { stringAt } from '../../base/json/index.ts';
import { readMetadata } from '../tuf-metadata/read.ts';
import type { Dialect, Metadata, Root, Snapshot, Timestamp } from '../tuf-metadata/model.ts';

/**
 * Each publish reads the current files again: their parsed form is kept as long as their bytes are in memory.
 */
const known = new WeakMap<Buffer, Metadata>();

function remembered(dialect: Dialect, type: 'root' | 'snapshot' | 'timestamp', bytes: Buffer): Metadata {
  const before = known.get(bytes);
  if (before?.signed.type === type && before.signed.dialect === dialect) return before;
  const read = readMetadata(dialect, type, bytes);
  known.set(bytes, read);
  return read;
}

/** Remembers the parsed form of a file that this service made. */
export function rememberFile(metadata: Metadata<Snapshot | Timestamp>): void {
  known.set(metadata.bytes, metadata);
}

/**
 * Like readMetadata, but reads the same bytes in the same buffer only once.
 * @throws Error
 */
export const readRoot = (dialect: Dialect, bytes: Buffer): Metadata<Root> =>
  remembered(dialect, 'root', bytes) as Metadata<Root>;

export const readSnapshot = (dialect: Dialect, bytes: Buffer): Metadata<Snapshot> =>
  remembered(dialect, 'snapshot', bytes) as Metadata<Snapshot>;

export const readTimestamp = (dialect: Dialect, bytes: Buffer): Metadata<Timestamp> =>
  remembered(dialect, 'timestamp', bytes) as Metadata<Timestamp>;

/** In bytes. */
const largeFile = 64 * 1024;

/**
 * Returns when a stored file expires; milliseconds since 1970. A large file was checked when it was accepted,
 * and only its expiry is looked for: a full read would delay all other requests.
 */
export function expiryOf(dialect: Dialect, role: 'snapshot' | 'timestamp', bytes: Buffer): number {
  if (bytes.length >= largeFile)
    return Date.parse(stringAt(bytes.toString('utf8'), ['signed', 'expires']) ?? '');
  return (role === 'snapshot' ? readSnapshot : readTimestamp)(dialect, bytes).signed.expires;
}
