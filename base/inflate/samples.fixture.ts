import { crc32, deflateRawSync } from 'node:zlib';
import type { Engine } from './engine.ts';
import { createIsalEngine } from './isal-engine.ts';
import { findIsal } from './isal-library.ts';
import { findNodeEngines } from './node-engine.ts';

/** Starts an engine for gzip, by name; the library is missing on some machines. */
export function gzipEngines(): Readonly<Record<'libisal' | 'Node', (() => Engine) | undefined>> {
  const found = findIsal();
  return {
    libisal: 'isal' in found ? () => createIsalEngine(found.isal) : undefined,
    Node: findNodeEngines()?.gzip,
  };
}

/** The optional fields of a header; see RFC 1952, section 2.3. */
export interface HeaderFields {
  readonly extra?: Buffer;
  readonly name?: string;
  readonly comment?: string;
  readonly crc?: boolean;
}

/** A gzip member around raw deflate data. @param content of the trailer */
export function member(raw: Buffer, content: Buffer, fields: HeaderFields = {}): Buffer {
  const { extra, name, comment, crc = false } = fields;
  const flags =
    (crc ? 2 : 0) |
    (extra === undefined ? 0 : 4) |
    (name === undefined ? 0 : 8) |
    (comment === undefined ? 0 : 16);
  const length = Buffer.alloc(2);
  length.writeUInt16LE(extra?.length ?? 0);
  const head = Buffer.concat([
    Buffer.from([0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 3]),
    ...(extra === undefined ? [] : [length, extra]),
    ...[name, comment].flatMap((text) => (text === undefined ? [] : [Buffer.from(`${text}\0`)])),
  ]);
  const sum = Buffer.alloc(2);
  sum.writeUInt16LE(crc32(head) & 0xffff);
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE(crc32(content), 0);
  trailer.writeUInt32LE(content.length, 4);
  return Buffer.concat([head, ...(crc ? [sum] : []), raw, trailer]);
}

/** Compresses content as one member. @param level 0 to 9 */
export function gzip(content: Buffer | string, level = 6, fields: HeaderFields = {}): Buffer {
  const bytes = Buffer.from(content);
  return member(deflateRawSync(bytes, { level }), bytes, fields);
}

/** Text that compresses, of any length. */
export function sampleText(bytes: number): Buffer {
  const text = Buffer.allocUnsafe(bytes);
  for (let at = 0, state = 1; at < bytes; at += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    text[at] = state >>> 29 === 0 ? state >>> 16 : 97 + (at % 23);
  }
  return text;
}

/**
 * A block with a distance code of one symbol and two bits, which is not complete, and which the block does
 * not use. zlib refuses it (`invalid distances set`); no deflater writes it.
 */
export const incompleteCode = Buffer.from('BcCBAAAAAIAg1vwlGgQ=', 'base64');
export const incompleteText = Buffer.from('aaaaa');
