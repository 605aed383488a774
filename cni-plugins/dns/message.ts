/**
 * DNS messages, as far as a name server needs them: the question (RFC 1035, section 4.1; EDNS of RFC 6891),
 * and the answer. Everything else in a message passes through unread. Pure.
 */

export const type = {
  A: 1,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  OPT: 41,
  TSIG: 250,
  ANY: 255,
} as const;
export const classIn = 1;
export const rcode = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  BADVERS: 16,
} as const;

/** RFC 8914: why there is no answer. */
export const extendedError = { notReady: 14, prohibited: 18, noReachableAuthority: 22 } as const;

export const headerBytes = 12;
/** RFC 1035, section 4.2.1: the limit of a datagram for a client that does not announce another. */
export const plainDatagramBytes = 512;
/** The limit for UDP in both directions: it passes every link unfragmented (DNS flag day 2020). */
export const datagramBytes = 1232;

const flag = {
  response: 0x8000,
  authoritative: 0x0400,
  truncated: 0x0200,
  recursion: 0x0100,
  recursionAvailable: 0x0080,
} as const;
const checkingDisabled = 0x0010;
const opcodeMask = 0x7800;
const dnssecOk = 0x8000;

export interface Query {
  readonly id: number;
  /** As received. */
  readonly flags: number;
  /**
   * In lower case without the final dot, empty for the root. Undefined if it has no text form (a dot or a
   * byte beyond ASCII in a label).
   */
  readonly name: string | undefined;
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

function readQuestion(message: Buffer): Pick<Query, 'name' | 'type' | 'class' | 'questionEnd'> | undefined {
  const end = endOfName(message, headerBytes);
  if (end === undefined || end + 4 > message.length) return undefined;
  return {
    name: textOfName(message, end),
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

function textOfName(message: Buffer, end: number): string | undefined {
  let text = '';
  for (let at = headerBytes; at < end - 1;) {
    const length = message[at] ?? 0;
    for (let index = at + 1; index <= at + length; index += 1) {
      const byte = message[index] ?? 0;
      if (byte === dot || byte <= 0x20 || byte >= 0x7f) return undefined;
      text += String.fromCharCode(byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte);
    }
    at += length + 1;
    if (at < end - 1) text += '.';
  }
  return text;
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

/** One record of an answer. */
export interface Answer {
  readonly type: number;
  readonly data: Uint8Array;
  /** An encoded name. Absent: the name in the question. */
  readonly owner?: Uint8Array;
  /** Seconds. Absent: as the reply says. */
  readonly ttl?: number;
}

export interface Reply {
  readonly rcode: number;
  readonly answers: readonly Answer[];
  readonly ttl: number;
  readonly authoritative: boolean;
  /** For a denial: how many labels at the end of the name form the zone that denies it (RFC 2308). */
  readonly zoneLabels?: number;
  /** {@link extendedError}; sent to an asker that supports EDNS. */
  readonly extendedError?: number;
  /** Records that may be left out, such as the addresses of an SRV record's target. */
  readonly additionals?: readonly Answer[];
  /** More records exist than these. */
  readonly truncated?: true;
}

const nameOfQuestionBytes = Buffer.of(0xc0, headerBytes);

/**
 * Returns the message of a reply. Records that do not fit into `room` bytes are left out and the message is
 * marked as truncated, so that the asker repeats the question over TCP.
 * @param query the bytes from which `asked` was read
 */
export function encodeReply(query: Buffer, asked: Query, reply: Reply, room: number): Buffer {
  const opt = asked.edns === undefined ? undefined : encodeOpt(reply);
  const parts: Buffer[] = [];
  let left = room - asked.questionEnd - (opt?.length ?? 0);
  /** Returns how many of the records fit, and appends these. */
  const take = (records: readonly Answer[]): number => {
    for (const [index, each] of records.entries()) {
      const record = encodeRecord(each, reply.ttl);
      left -= record.length;
      if (left < 0) return index;
      parts.push(record);
    }
    return records.length;
  };
  const count = take(reply.answers);
  const truncated = count < reply.answers.length || reply.truncated === true;
  const soa =
    reply.zoneLabels === undefined || truncated
      ? undefined
      : encodeSoa(query, asked, reply.zoneLabels, reply.ttl);
  const more = truncated || soa !== undefined ? 0 : take(reply.additionals ?? []);
  const head = Buffer.from(query.subarray(0, asked.questionEnd));
  const bits =
    flag.response |
    (reply.authoritative ? flag.authoritative : 0) |
    (truncated ? flag.truncated : 0) |
    flag.recursionAvailable |
    (asked.flags & (flag.recursion | checkingDisabled)) |
    (reply.rcode & 0xf);
  head.writeUInt16BE(bits, 2);
  head.writeUInt16BE(count, 6);
  head.writeUInt16BE(soa === undefined ? 0 : 1, 8);
  head.writeUInt16BE((opt === undefined ? 0 : 1) + more, 10);
  return Buffer.concat([
    head,
    ...parts,
    ...(soa === undefined ? [] : [soa]),
    ...(opt === undefined ? [] : [opt]),
  ]);
}

function encodeRecord({ type: recordType, data, owner, ttl }: Answer, usual: number): Buffer {
  const own = owner ?? nameOfQuestionBytes;
  const record = Buffer.allocUnsafe(own.length + 10 + data.length);
  record.set(own, 0);
  record.writeUInt16BE(recordType, own.length);
  record.writeUInt16BE(classIn, own.length + 2);
  record.writeUInt32BE(ttl ?? usual, own.length + 4);
  record.writeUInt16BE(data.length, own.length + 8);
  record.set(data, own.length + 10);
  return record;
}

function writeRecordHead(
  record: Buffer,
  name: number,
  recordType: number,
  ttl: number,
  dataBytes: number,
): void {
  record.writeUInt16BE(name, 0);
  record.writeUInt16BE(recordType, 2);
  record.writeUInt16BE(classIn, 4);
  record.writeUInt32BE(ttl, 6);
  record.writeUInt16BE(dataBytes, 10);
}

const serial = 1;
const [refresh, retry, expire] = [7200, 3600, 86_400];

/**
 * RFC 2308, section 3: how long a denial is valid. The zone is the end of the name in the question, so
 * pointers to it express all names.
 */
function encodeSoa(query: Buffer, asked: Query, zoneLabels: number, ttl: number): Buffer {
  const starts: number[] = [];
  for (let at = headerBytes; at < asked.questionEnd - 4; at += (query[at] ?? 0) + 1) starts.push(at);
  const zone = 0xc000 | (starts.at(-1 - zoneLabels) ?? headerBytes);
  const record = Buffer.alloc(12 + 4 + 20);
  writeRecordHead(record, zone, type.SOA, ttl, 24);
  record.writeUInt16BE(zone, 12);
  record.writeUInt16BE(zone, 14);
  [serial, refresh, retry, expire, ttl].forEach((value, index) =>
    record.writeUInt32BE(value, 16 + index * 4),
  );
  return record;
}

function encodeOpt(reply: Reply): Buffer {
  const option = reply.extendedError === undefined ? Buffer.alloc(0) : Buffer.alloc(6);
  if (reply.extendedError !== undefined) {
    option.writeUInt16BE(15, 0);
    option.writeUInt16BE(2, 2);
    option.writeUInt16BE(reply.extendedError, 4);
  }
  const opt = Buffer.alloc(11);
  opt.writeUInt16BE(type.OPT, 1);
  opt.writeUInt16BE(datagramBytes, 3);
  opt[5] = reply.rcode >> 4;
  opt.writeUInt16BE(option.length, 9);
  return Buffer.concat([opt, option]);
}

/** Returns the error for a query that could not be read: only the header. */
export function encodeFailure(query: Buffer, code: number): Buffer {
  const head = Buffer.alloc(headerBytes);
  query.copy(head, 0, 0, 2);
  const flags = query.readUInt16BE(2);
  head.writeUInt16BE(flag.response | (flags & (opcodeMask | flag.recursion)) | code, 2);
  return head;
}

/** Encodes a name of LDH text (RFC 1035, section 3.1). */
export function encodeName(text: string): Buffer {
  const labels = text.split('.').filter((label) => label !== '');
  return Buffer.concat([
    ...labels.flatMap((label) => [Buffer.of(label.length), Buffer.from(label, 'latin1')]),
    Buffer.of(0),
  ]);
}

/** RFC 1035, section 4.1.1. */
export const rcodeOf = (answer: Buffer): number => (answer[3] ?? 0) & 0xf;

/** Whether a server's answer is a failure, so that the next server may know the answer. */
export function isFailure(answer: Buffer): boolean {
  const code = rcodeOf(answer);
  return code !== rcode.NOERROR && code !== rcode.NXDOMAIN;
}

/**
 * Whether `answer` answers the question of `query`, apart from its id. The comparison ignores case, because a
 * server may change it. A failure may come without its question.
 */
export function answersTo(
  answer: Buffer,
  query: Buffer,
  { questionEnd }: Pick<Query, 'questionEnd'>,
): boolean {
  if (
    answer.length < headerBytes ||
    (answer.readUInt16BE(2) & (flag.response | opcodeMask)) !== flag.response
  )
    return false;
  if (answer.readUInt16BE(4) === 0) return isFailure(answer);
  if (answer.readUInt16BE(4) !== 1 || answer.length < questionEnd) return false;
  for (let at = headerBytes; at < questionEnd; at += 1)
    if (lower(answer[at]) !== lower(query[at])) return false;
  return true;
}

const lower = (byte = 0): number => (byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte);

export const isTruncated = (answer: Buffer): boolean => (answer.readUInt16BE(2) & flag.truncated) !== 0;

/**
 * Returns another server's answer as the asker's own: with the asker's id and the case of its question, and
 * cut to the question if it does not fit.
 * @param answer one that {@link answersTo} the query
 */
export function relayed(answer: Buffer, query: Buffer, asked: Query, room: number): Buffer {
  const own = Buffer.from(answer);
  own.writeUInt16BE(asked.id, 0);
  if (own.readUInt16BE(4) === 0) return own.subarray(0, room);
  query.copy(own, headerBytes, headerBytes, asked.questionEnd);
  own.writeUInt16BE(own.readUInt16BE(2) | flag.recursionAvailable, 2);
  if (own.length <= room) return own;
  const cut = encodeReply(
    query,
    asked,
    { rcode: own.readUInt16BE(2) & 0xf, answers: [], ttl: 0, authoritative: false },
    room,
  );
  cut.writeUInt16BE(cut.readUInt16BE(2) | flag.truncated, 2);
  return cut;
}

/** Returns the query for another server: with a new id, and a size that is passed on unfragmented. */
export function forwarded(query: Buffer, { edns }: Pick<Query, 'edns'>, id: number): Buffer {
  const own = Buffer.from(query);
  own.writeUInt16BE(id, 0);
  if (edns !== undefined) own.writeUInt16BE(Math.min(edns.datagramBytes, datagramBytes), edns.at + 3);
  return own;
}
