/**
 * The netlink wire format: messages of aligned attributes. Pure: bytes in, bytes out.
 * Source: linux/netlink.h, netlink(7). Integers are in the byte order of the machine (both supported ones are
 * little-endian), except where nfnetlink requires network order (`be16`, `be32`).
 */

// Message flags
export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;

// Control message types
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;

const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;
const headerLength = 16;

/** A message to send. `body` holds the family's own header and the attributes. */
export interface Message {
  readonly type: number;
  /** NLM_F_*; absent: none. */
  readonly flags?: number;
  readonly body: Uint8Array;
}

/** A received message. */
export interface Received extends Message {
  readonly flags: number;
  readonly sequence: number;
  readonly body: Buffer;
}

/** The result in an NLMSG_ERROR or NLMSG_DONE: 0 is success. */
export interface Acknowledgement {
  readonly errno: number;
  /** The kernel's own words (NETLINK_EXT_ACK), if any. */
  readonly text?: string;
}

const aligned = (length: number): number => (length + 3) & ~3;

/** Encodes one byte. */
export function u8(value: number): Buffer {
  return Buffer.of(value);
}

/** Encodes two bytes, the lowest first: the order of the host. */
export function u16(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

/** Encodes four bytes, the lowest first: the order of the host. */
export function u32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
}

/** Encodes two bytes in network order. */
export function be16(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

/** Also accepts negative values: nf_tables priorities and verdicts are signed. */
export function be32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

/**
 * Returns zeros from Node's pool. A buffer with separate memory costs several times as much, and a message
 * consists of dozens.
 */
export function zeros(length: number): Buffer {
  return Buffer.allocUnsafe(length).fill(0);
}

const IFLA_EXT_MASK = 29;
const RTEXT_FILTER_SKIP_STATS = 1 << 3;

/**
 * For requests about links: omits the counters, which the kernel sums over the processors and which are half
 * of its answer. Since Linux 4.4.
 */
export const withoutCounters = attribute(IFLA_EXT_MASK, u32(RTEXT_FILTER_SKIP_STATS));

/** Returns a string in netlink's form: UTF-8, as other programs write names, and terminated by NUL. */
export function text(value: string): Buffer {
  return Buffer.from(`${value}\0`);
}

/** Returns one attribute, padded to four bytes. */
export function attribute(type: number, value: Uint8Array): Buffer {
  const length = 4 + value.length;
  const bytes = Buffer.allocUnsafe(aligned(length));
  bytes.writeUInt16LE(length, 0);
  bytes.writeUInt16LE(type, 2);
  bytes.set(value, 4);
  return bytes.fill(0, length);
}

/** Returns an attribute that holds attributes. */
export function nested(type: number, ...children: readonly Uint8Array[]): Buffer {
  return attribute(type | NLA_F_NESTED, Buffer.concat(children));
}

/**
 * Encodes consecutive messages, numbered from `firstSequence`, for one sendmsg.
 * @param flags added to the flags of each message
 */
export function encodeMessages(messages: readonly Message[], firstSequence: number, flags = 0): Buffer {
  const total = messages.reduce((sum, message) => sum + aligned(headerLength + message.body.length), 0);
  const bytes = Buffer.allocUnsafe(total);
  let at = 0;
  messages.forEach((message, index) => {
    const end = at + headerLength + message.body.length;
    bytes.writeUInt32LE(headerLength + message.body.length, at);
    bytes.writeUInt16LE(message.type, at + 4);
    bytes.writeUInt16LE((message.flags ?? 0) | flags, at + 6);
    bytes.writeUInt32LE((firstSequence + index) >>> 0, at + 8);
    bytes.writeUInt32LE(0, at + 12);
    bytes.set(message.body, at + headerLength);
    at = aligned(end);
    bytes.fill(0, end, at);
  });
  return bytes;
}

/**
 * Returns the messages of one datagram. A truncated or impossible length ends the reading: the kernel sends
 * none.
 */
export function decodeMessages(bytes: Buffer): Received[] {
  const messages: Received[] = [];
  let at = 0;
  while (at + headerLength <= bytes.length) {
    const length = bytes.readUInt32LE(at);
    if (length < headerLength || at + length > bytes.length) break;
    messages.push({
      type: bytes.readUInt16LE(at + 4),
      flags: bytes.readUInt16LE(at + 6),
      sequence: bytes.readUInt32LE(at + 8),
      body: bytes.subarray(at + headerLength, at + length),
    });
    at += aligned(length);
  }
  return messages;
}

/** Attributes of a message, by type. */
export interface Attributes {
  get(type: number): Buffer | undefined;
  has(type: number): boolean;
}

/**
 * Returns the attributes from `offset` on, by type. If a type occurs twice, the last one counts. A buffer is
 * created only for the attributes that are read: a few of the about sixty that the kernel sends for a link.
 */
export function attributesOf(bytes: Buffer, offset = 0): Attributes {
  const starts = new Map<number, number>();
  for (let at = offset; at + 4 <= bytes.length;) {
    const length = shortAt(bytes, at);
    if (length < 4 || at + length > bytes.length) break;
    starts.set(shortAt(bytes, at + 2) & NLA_TYPE_MASK, at);
    at += aligned(length);
  }
  return {
    get(type) {
      const at = starts.get(type);
      return at === undefined ? undefined : bytes.subarray(at + 4, at + shortAt(bytes, at));
    },
    has: (type) => starts.has(type),
  };
}

const shortAt = (bytes: Buffer, at: number): number => (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);

/** Returns the contents of the attributes of a list, which all have one type, in order. */
export function elementsOf(list: Buffer = Buffer.alloc(0)): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at + 4 <= list.length;) {
    const length = list.readUInt16LE(at);
    if (length < 4 || at + length > list.length) break;
    found.push(list.subarray(at + 4, at + length));
    at += aligned(length);
  }
  return found;
}

/** Returns a string attribute without its NUL. */
export function textOf(value: Buffer | undefined): string {
  if (value === undefined) return '';
  const end = value.indexOf(0);
  return value.toString('utf8', 0, end === -1 ? value.length : end);
}

const NLMSGERR_ATTR_MSG = 1;

/** Reads an NLMSG_ERROR (or an NLMSG_DONE, whose body also starts with an errno). */
export function acknowledgementOf(message: Received): Acknowledgement {
  if (message.body.length < 4) return { errno: 0 };
  const errno = -message.body.readInt32LE(0);
  if ((message.flags & NLM_F_ACK_TLVS) === 0) return { errno };
  // struct nlmsgerr: the errno, the header of the refused message and, unless capped, its payload.
  const echoed =
    message.type === NLMSG_DONE
      ? 0
      : (message.flags & NLM_F_CAPPED) === 0 && message.body.length >= 8
        ? message.body.readUInt32LE(4)
        : headerLength;
  const words = textOf(attributesOf(message.body, 4 + aligned(echoed)).get(NLMSGERR_ATTR_MSG));
  return words === '' ? { errno } : { errno, text: words };
}
