import { encodeName } from './reply.ts';
import { headerBytes, type } from './message-format.ts';
import type { Answer } from './reply.ts';

/** Reads the records of another server's answer (RFC 1035, section 4.1). Pure. */

/** The most records that are read. */
const mostRecords = 128;
/** RFC 1035, section 2.3.4. */
const longestName = 255;
/** Each pointer leads further back, and no name needs more. */
const mostPointers = 32;

/**
 * Returns the aliases and addresses of the answer section, with names written out. Undefined: the message is
 * malformed.
 * @param questionEnd where the question of the message ends
 */
export function answerRecords(message: Buffer, questionEnd: number): readonly Answer[] | undefined {
  if (message.length < headerBytes) return undefined;
  const count = Math.min(message.readUInt16BE(6), mostRecords);
  const found: Answer[] = [];
  let at = questionEnd;
  for (let index = 0; index < count; index += 1) {
    const owner = readName(message, at);
    if (owner === undefined || owner.end + 10 > message.length) return undefined;
    const [kind, ttl, length] = [
      message.readUInt16BE(owner.end),
      message.readUInt32BE(owner.end + 4),
      message.readUInt16BE(owner.end + 8),
    ];
    const from = owner.end + 10;
    at = from + length;
    if (at > message.length) return undefined;
    const data = kind === type.CNAME ? readName(message, from)?.name : message.subarray(from, at);
    if (data === undefined) return undefined;
    const isAddress = (kind === type.A && length === 4) || (kind === type.AAAA && length === 16);
    if (isAddress || kind === type.CNAME)
      found.push({ type: kind, data: Buffer.from(data), owner: owner.name, ttl: Math.min(ttl, 0x7fff_ffff) });
  }
  return found;
}

/** Returns the name at a place, written out, and where it ends there. */
function readName(
  message: Buffer,
  start: number,
): { readonly name: Buffer; readonly end: number } | undefined {
  const parts: Buffer[] = [];
  let size = 0;
  let end: number | undefined;
  let at = start;
  for (let pointers = 0; pointers <= mostPointers;) {
    const length = message[at];
    if (length === undefined) return undefined;
    if (length >= 0xc0) {
      if (at + 1 >= message.length) return undefined;
      end ??= at + 2;
      at = message.readUInt16BE(at) & 0x3fff;
      pointers += 1;
      continue;
    }
    if (length > 63 || at + 1 + length > message.length) return undefined;
    size += length + 1;
    if (size > longestName) return undefined;
    parts.push(message.subarray(at, at + 1 + length));
    at += length + 1;
    if (length === 0) return { name: Buffer.concat(parts), end: end ?? at };
  }
  return undefined;
}

/** Returns a query for a name, which wants recursion. @param asked its type */
export function queryFor(name: string, asked: number): Buffer {
  const head = Buffer.alloc(headerBytes);
  head.writeUInt16BE(0x0100, 2);
  head.writeUInt16BE(1, 4);
  const tail = Buffer.alloc(4);
  tail.writeUInt16BE(asked, 0);
  tail.writeUInt16BE(1, 2);
  return Buffer.concat([head, encodeName(name), tail]);
}
