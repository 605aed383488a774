import type { Query } from './query.ts';
import { type, classIn, headerBytes, datagramBytes, dnssecOk, flag, opcodeMask } from './message-format.ts';

const checkingDisabled = 0x0010;

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
  /** The labels before the zone in its SOA record. Absent: both are the name of the zone itself. */
  readonly zoneContact?: { readonly server: string; readonly mailbox: string };
  /** `extendedError`; sent to an asker that supports EDNS. */
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
  const opt = asked.edns === undefined ? undefined : encodeOpt(reply, asked.edns);
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
  const denial = reply.zoneLabels === undefined ? undefined : encodeSoa(query, asked, reply);
  const truncated = count < reply.answers.length || reply.truncated === true || (denial?.length ?? 0) > left;
  const soa = truncated ? undefined : denial;
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

const serial = 1;
const [refresh, retry, expire] = [7200, 3600, 86_400];

/**
 * RFC 2308, section 3: how long a denial is valid. The zone is the end of the name in the question, so
 * pointers to it express all names.
 */
function encodeSoa(query: Buffer, asked: Query, { zoneLabels = 0, zoneContact, ttl }: Reply): Buffer {
  const starts: number[] = [];
  for (let at = headerBytes; at < asked.questionEnd - 4; at += (query[at] ?? 0) + 1) starts.push(at);
  const pointer = Buffer.alloc(2);
  pointer.writeUInt16BE(0xc000 | (starts.at(-1 - zoneLabels) ?? headerBytes));
  const inZone = (labels = ''): Buffer => Buffer.concat([encodeName(labels).subarray(0, -1), pointer]);
  const data = soaData(inZone(zoneContact?.server), inZone(zoneContact?.mailbox), ttl);
  return encodeRecord({ type: type.SOA, data, owner: pointer }, ttl);
}

/**
 * Returns the data of an SOA record (RFC 1035, section 3.3.13).
 * @param server @param mailbox encoded names
 */
export function soaData(server: Uint8Array, mailbox: Uint8Array, ttl: number): Buffer {
  const numbers = Buffer.alloc(20);
  [serial, refresh, retry, expire, ttl].forEach((value, index) => numbers.writeUInt32BE(value, index * 4));
  return Buffer.concat([server, mailbox, numbers]);
}

function encodeOpt(reply: Reply, { dnssec }: NonNullable<Query['edns']>): Buffer {
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
  // RFC 3225, section 3: the bit is copied. Resolvers take a server that does not copy it as too old for
  // DNSSEC.
  opt.writeUInt16BE(dnssec ? dnssecOk : 0, 7);
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
