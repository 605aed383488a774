/** One element of an nf_tables set as bytes. Source: linux/netfilter/nf_tables.h. Pure. */

/** Returns the width of a part of a key or value, padded to four bytes. */
export const padded = (width: number): number => (width + 3) & ~3;

const NLA_F_NESTED = 0x8000;
const NFTA_SET_ELEM_USERDATA = 6;
const attributeHeader = 4;
/** A comment as `nft list` shows it is libnftnl's udata: type 0, length, text with its NUL. */
const commentHeader = attributeHeader + 2;

const elementLength = (key: Uint8Array, value: Uint8Array | undefined, comment: string | undefined): number =>
  3 * attributeHeader +
  padded(key.length) +
  (value === undefined ? 0 : 2 * attributeHeader + padded(value.length)) +
  (comment === undefined ? 0 : padded(commentHeader + comment.length + 1));

/**
 * Returns NFTA_LIST_ELEM of an element without a verdict, in one buffer: building these is most of the cost
 * of a change of many elements.
 */
export function plainElement(key: Uint8Array, value: Uint8Array | undefined, comment?: string): Buffer {
  const bytes = Buffer.allocUnsafe(elementLength(key, value, comment));
  writePlainElement(bytes, 0, key, value, comment);
  return bytes;
}

/**
 * Writes NFTA_LIST_ELEM of an element without a verdict.
 * @param at a multiple of four, with enough room after it
 * @param comment ASCII
 * @returns where it ends
 */
export function writePlainElement(
  bytes: Buffer,
  at: number,
  key: Uint8Array,
  value: Uint8Array | undefined,
  comment?: string,
): number {
  const end = at + elementLength(key, value, comment);
  header(bytes, at, 1 | NLA_F_NESTED, end - at);
  header(bytes, at + 4, 1 | NLA_F_NESTED, 2 * attributeHeader + padded(key.length));
  let next = contents(bytes, at + 8, 1, key);
  if (value !== undefined) {
    header(bytes, next, 2 | NLA_F_NESTED, 2 * attributeHeader + padded(value.length));
    next = contents(bytes, next + 4, 1, value);
  }
  if (comment === undefined) return end;
  header(bytes, next, NFTA_SET_ELEM_USERDATA, commentHeader + comment.length + 1);
  bytes[next + 4] = 0;
  bytes[next + 5] = comment.length + 1;
  bytes.write(comment, next + commentHeader, 'latin1');
  bytes.fill(0, next + commentHeader + comment.length, end);
  return end;
}

/** Two little-endian numbers: the length of an attribute with its header, and its type. */
function header(bytes: Buffer, at: number, type: number, length: number): void {
  bytes[at] = length & 255;
  bytes[at + 1] = length >> 8;
  bytes[at + 2] = type & 255;
  bytes[at + 3] = type >> 8;
}

/** Writes an attribute. @returns where the next one begins */
function contents(bytes: Buffer, at: number, type: number, value: Uint8Array): number {
  header(bytes, at, type, attributeHeader + value.length);
  let next = at + attributeHeader;
  // Some bytes: a call of `set` costs more than they do, and so does an iterator.
  for (let from = 0; from < value.length; from += 1) bytes[next++] = value[from] ?? 0;
  while ((next & 3) !== 0) bytes[next++] = 0;
  return next;
}
