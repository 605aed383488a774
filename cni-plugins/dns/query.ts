import {
  type,
  rcode,
  headerBytes,
  plainDatagramBytes,
  datagramBytes,
  dnssecOk,
  flag,
  opcodeMask,
} from './message-format.ts';

export interface Query {
  readonly id: number;
  /** As received. */
  readonly flags: number;
  /**
   * In lower case without the final dot, empty for the root. Undefined if it has no text form (a dot or a
   * byte beyond ASCII in a label).
   */
  readonly name: string | undefined;
  /** For a name without a text form: the labels at its end that have one, as in `name`. */
  readonly end?: string;
  readonly type: number;
  readonly class: number;
  readonly wantsRecursion: boolean;
  /** Where the question ends. It begins after the header. */
  readonly questionEnd: number;
  /** Absent: the asker does not support EDNS. */
  readonly edns?: {
    readonly datagramBytes: number;
    readonly version: number;
    readonly dnssec: boolean;
    readonly at: number;
  };
}

/**
 * The result of reading: a query, or its error (`rcode`), or undefined for a message that is never answered.
 */
export type Reading = Query | { readonly rcode: number } | undefined;

/** @param message any received bytes */
export function readQuery(message: Buffer): Reading {
  if (message.length < headerBytes) return undefined;
  const flags = message.readUInt16BE(2);
  // Never answer an answer: two servers would exchange messages forever.
  if ((flags & flag.response) !== 0) return undefined;
  if ((flags & opcodeMask) !== 0) return { rcode: rcode.NOTIMP };
  const [questions, answers, authorities, additionals] = [4, 6, 8, 10].map((at) => message.readUInt16BE(at));
  if (questions !== 1 || answers !== 0 || authorities !== 0 || additionals === undefined)
    return { rcode: rcode.FORMERR };
  const question = readQuestion(message);
  if (question === undefined || question.type === type.OPT) return { rcode: rcode.FORMERR };
  const edns = readEdns(message, question.questionEnd, additionals);
  if (edns === 'malformed') return { rcode: rcode.FORMERR };
  return {
    id: message.readUInt16BE(0),
    flags,
    wantsRecursion: (flags & flag.recursion) !== 0,
    ...question,
    ...(edns !== undefined && { edns }),
  };
}

function readQuestion(
  message: Buffer,
): Pick<Query, 'end' | 'name' | 'type' | 'class' | 'questionEnd'> | undefined {
  const end = endOfName(message, headerBytes);
  if (end === undefined || end + 4 > message.length) return undefined;
  const labels = labelsOfName(message, end);
  const last = labels.lastIndexOf(undefined);
  return {
    name: last === -1 ? labels.join('.') : undefined,
    ...(last !== -1 && { end: labels.slice(last + 1).join('.') }),
    type: message.readUInt16BE(end),
    class: message.readUInt16BE(end + 2),
    questionEnd: end + 4,
  };
}

const longestName = 255;

/**
 * Returns undefined if the name runs over the end, is too long, or is compressed, because there is nothing
 * before a question to point to.
 */
function endOfName(message: Buffer, start: number): number | undefined {
  let at = start;
  for (;;) {
    const length = message[at];
    if (length === undefined || length > 63) return undefined;
    at += length + 1;
    if (at - start > longestName) return undefined;
    if (length === 0) return at;
  }
}

const dot = 0x2e;

/** Returns the labels in lower case. Undefined: the label has no text form. */
function labelsOfName(message: Buffer, end: number): (string | undefined)[] {
  const labels: (string | undefined)[] = [];
  for (let at = headerBytes; at < end - 1;) {
    const length = message[at] ?? 0;
    let text: string | undefined = '';
    for (let index = at + 1; index <= at + length && text !== undefined; index += 1) {
      const byte = message[index] ?? 0;
      text =
        byte === dot || byte <= 0x20 || byte >= 0x7f
          ? undefined
          : text + String.fromCharCode(byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte);
    }
    labels.push(text);
    at += length + 1;
  }
  return labels;
}

const mostAdditionals = 4;

/**
 * Reads the OPT record (RFC 6891, section 6.1.2) from the additional section of a query. Other records are
 * skipped.
 */
function readEdns(message: Buffer, from: number, count: number): Query['edns'] | 'malformed' {
  if (count > mostAdditionals) return 'malformed';
  let found: Query['edns'];
  let at = from;
  for (let index = 0; index < count; index += 1) {
    const end = endOfRecordName(message, at);
    if (end === undefined || end + 10 > message.length) return 'malformed';
    const next = end + 10 + message.readUInt16BE(end + 8);
    if (next > message.length) return 'malformed';
    if (message.readUInt16BE(end) === type.OPT) {
      // Section 6.1.1: at most one, at the root.
      if (found !== undefined || end !== at + 1) return 'malformed';
      const [size, version, extended] = [
        message.readUInt16BE(end + 2),
        message[end + 5] ?? 0,
        message.readUInt16BE(end + 6),
      ];
      found = {
        datagramBytes: Math.max(size, plainDatagramBytes),
        version,
        dnssec: (extended & dnssecOk) !== 0,
        at,
      };
    }
    at = next;
  }
  return found;
}

/** Like {@link endOfName}, for a name that may end with a pointer. */
function endOfRecordName(message: Buffer, start: number): number | undefined {
  for (let at = start; at - start <= longestName;) {
    const length = message[at];
    if (length === undefined) return undefined;
    if (length === 0) return at + 1;
    if (length >= 0xc0) return at + 2;
    if (length > 63) return undefined;
    at += length + 1;
  }
  return undefined;
}

/** Returns how many bytes of an answer reach the asker over UDP. */
export function roomOf({ edns }: Pick<Query, 'edns'>): number {
  return edns === undefined ? plainDatagramBytes : Math.min(edns.datagramBytes, datagramBytes);
}
