import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { parseStrictJson } from '../json/strict-json.ts';
import { tufCanonicalJson } from './canonical.ts';
import { firstTwice, mostSignatures, refuseMoreThan } from './limits.ts';
import type { Dialect, Metadata, Root, Signed, Snapshot, Targets, Timestamp, TopRole } from './model.ts';
import { readNotarySignature, readNotarySigned } from './read-notary.ts';
import { readTufSignature, readTufSigned } from './read-tuf.ts';
import { listAt, objectAt } from './reading.ts';

interface ByType {
  readonly root: Root;
  readonly timestamp: Timestamp;
  readonly snapshot: Snapshot;
  readonly targets: Targets;
}

/** Metadata with thousands of targets is read once, however many images it is evaluated for. */
const largeFrom = 64 * 1024;
const large = new LRUCache<string, Metadata>({
  maxSize: 48 * 1024 * 1024,
  sizeCalculation: ({ bytes }) => bytes.length,
});

/**
 * Reads metadata of one type without verifying it. Delegated targets have the type `targets`.
 * @param parsed the result of parseStrictJson for the same bytes, if they were parsed before
 * @throws Error with a sentence that states the fault
 */
export function readMetadata<T extends TopRole>(
  dialect: Dialect,
  type: T,
  bytes: Buffer,
  parsed?: unknown,
): Metadata<ByType[T]> {
  if (bytes.length < largeFrom) return readUnremembered(dialect, type, bytes, parsed);
  const key = `${dialect} ${type} ${createHash('sha256').update(bytes).digest('hex')}`;
  const known = large.get(key) ?? readUnremembered(dialect, type, bytes, parsed);
  large.set(key, known);
  return known as Metadata<ByType[T]>;
}

/** Reads metadata as `readMetadata` does, but caches nothing. */
export function readUnremembered<T extends TopRole>(
  dialect: Dialect,
  type: T,
  bytes: Buffer,
  parsed?: unknown,
): Metadata<ByType[T]> {
  const file = objectAt(parsed ?? parseStrictJson(bytes), 'the file');
  const fields = objectAt(file['signed'], 'signed');
  const [readSigned, readSignature] =
    dialect === 'tuf' ? [readTufSigned, readTufSignature] : [readNotarySigned, readNotarySignature];
  const list = listAt(file['signatures'], 'signatures');
  refuseMoreThan(mostSignatures, list.length, 'signatures');
  const signed: Signed = readSigned(type, fields);
  const signatures = list.map((entry, index) => readSignature(entry, `signatures[${index}]`));
  if (dialect === 'tuf') refuseTwiceSigned(signatures.map(({ keyid }) => keyid));
  return { signed: signed as ByType[T], signatures, message: tufCanonicalJson(fields), bytes };
}

/** Refuses several signatures with the same key id, as specification 1.0.34, section 4.2.1, requires. */
function refuseTwiceSigned(keyids: readonly string[]): void {
  const twice = firstTwice(keyids);
  if (twice !== undefined) throw new Error(`it has two signatures of key ${twice}`);
}
