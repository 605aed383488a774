import { promisify } from 'node:util';
import { zstdCompress, zstdDecompressSync } from 'node:zlib';
import { attempt } from '../../base/errors/index.ts';
import { decodeBase64 } from '../json/strict-json.ts';
import type { EvidenceItem } from '../findings/types.ts';

/** Below this size, compression costs more than it saves. */
const packedFrom = 64 * 1024;
/** More than any limit on what is read. It bounds the uncompressed size of a hostile dossier. */
const maximumUnpacked = 96 * 1024 * 1024;
const compress = promisify(zstdCompress);

/**
 * Returns bytes as an item keeps them: base64, and compressed when they are large (bills of materials have
 * megabytes, mostly repetitive).
 */
export async function packBytes(
  bytes: Uint8Array,
): Promise<Pick<EvidenceItem, 'packed'> & { readonly bytes: string }> {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (buffer.length < packedFrom) return { bytes: buffer.toString('base64') };
  return { bytes: (await compress(buffer)).toString('base64'), packed: 'zstd' };
}

/** Returns an item's bytes as they were served, or undefined when they are missing or altered. */
export function unpackBytes({ bytes, packed }: Pick<EvidenceItem, 'bytes' | 'packed'>): Buffer | undefined {
  const kept = decodeBase64(bytes);
  if (kept === undefined || packed === undefined) return kept;
  return attempt(() => zstdDecompressSync(kept, { maxOutputLength: maximumUnpacked }));
}
