/** One element of an nf_tables set as bytes. Source: linux/netfilter/nf_tables.h. Pure. */

import { attribute, text } from '../protocol/wire.ts';

export const padded = (width: number): number => (width + 3) & ~3;

const NLA_F_NESTED = 0x8000;
const attributeHeader = 4;

/**
 * Returns NFTA_LIST_ELEM of an element without a verdict, in one buffer: building these is most of the cost
 * of a change of many elements.
 */
export function plainElement(key: Uint8Array, value: Uint8Array | undefined, comment?: string): Buffer {
  if (comment !== undefined) return commented(key, value, comment);
  const valueBytes = value === undefined ? 0 : 2 * attributeHeader + padded(value.length);
  const bytes = Buffer.alloc(3 * attributeHeader + padded(key.length) + valueBytes);
  const head = (at: number, type: number, length: number): void => {
    bytes.writeUInt16LE(attributeHeader + length, at);
    bytes.writeUInt16LE(type, at + 2);
  };
  head(0, 1 | NLA_F_NESTED, bytes.length - attributeHeader);
  head(4, 1 | NLA_F_NESTED, attributeHeader + padded(key.length));
  head(8, 1, key.length);
  bytes.set(key, 12);
  if (value === undefined) return bytes;
  const at = 12 + padded(key.length);
  head(at, 2 | NLA_F_NESTED, attributeHeader + padded(value.length));
  head(at + 4, 1, value.length);
  bytes.set(value, at + 8);
  return bytes;
}

const NFTA_SET_ELEM_USERDATA = 6;

/**
 * Returns an element with a comment as `nft list` shows it (libnftnl's udata: type 0, length, text with its
 * NUL).
 */
function commented(key: Uint8Array, value: Uint8Array | undefined, comment: string): Buffer {
  const plain = plainElement(key, value);
  const words = text(comment);
  const data = attribute(NFTA_SET_ELEM_USERDATA, Buffer.concat([Buffer.of(0, words.length), words]));
  plain.writeUInt16LE(plain.length + data.length, 0);
  return Buffer.concat([plain, data]);
}
