import { optionCodes } from './option-codes.ts';

/** DHCP messages as bytes (RFC 2131, section 2). Pure. The bytes that are read come from outside. */

export interface DhcpMessage {
  /** 1: from a client, 2: from a server. */
  readonly op: number;
  readonly xid: number;
  /** Seconds since the client began. */
  readonly secs: number;
  /** Whether the client can receive broadcasts only. */
  readonly broadcast: boolean;
  /** The address that the client has. */
  readonly clientAddress: number;
  /** The address that the server gives. */
  readonly yourAddress: number;
  /** MAC address of the client. */
  readonly hardware: Buffer;
  /** The values of an option that is repeated are joined (RFC 3396). */
  readonly options: ReadonlyMap<number, Buffer>;
}

const fixedLength = 236;
const cookie = 0x63825363;
const optionsAt = fixedLength + 4;
const [nameAt, nameLength] = [44, 64];
const [fileAt, fileLength] = [108, 128];
/** Relays and servers may ignore shorter messages (RFC 1542, section 2.1). */
const shortest = 300;
const ethernet = 1;

export function encodeMessage(message: DhcpMessage): Buffer {
  const head = Buffer.alloc(optionsAt);
  head[0] = message.op;
  head[1] = ethernet;
  head[2] = 6;
  head.writeUInt32BE(message.xid, 4);
  head.writeUInt16BE(Math.min(message.secs, 0xffff), 8);
  head.writeUInt16BE(message.broadcast ? 0x8000 : 0, 10);
  head.writeUInt32BE(message.clientAddress, 12);
  head.writeUInt32BE(message.yourAddress, 16);
  message.hardware.copy(head, 28, 0, 6);
  head.writeUInt32BE(cookie, fixedLength);
  const options = [...message.options].flatMap(([code, value]) => fragments(code, value));
  const bytes = Buffer.concat([head, ...options, Buffer.of(optionCodes.end)]);
  return bytes.length >= shortest ? bytes : Buffer.concat([bytes], shortest);
}

/** Splits a value that is longer than an option can be (RFC 3396, section 5). */
function fragments(code: number, value: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  for (let at = 0; at === 0 || at < value.length; at += 255) {
    const part = value.subarray(at, at + 255);
    parts.push(Buffer.of(code, part.length), part);
  }
  return parts;
}

/** Returns the message, or why the bytes are none. */
export function decodeMessage(bytes: Buffer): DhcpMessage | string {
  if (bytes.length < optionsAt) return `it has only ${bytes.length} bytes`;
  if (bytes.readUInt32BE(fixedLength) !== cookie) return 'it is BOOTP without options';
  if (bytes[1] !== ethernet || bytes[2] !== 6) return 'it is not for an Ethernet address';
  const options = readOptions(bytes);
  if (typeof options === 'string') return options;
  return {
    op: bytes.readUInt8(0),
    xid: bytes.readUInt32BE(4),
    secs: bytes.readUInt16BE(8),
    broadcast: (bytes.readUInt16BE(10) & 0x8000) !== 0,
    clientAddress: bytes.readUInt32BE(12),
    yourAddress: bytes.readUInt32BE(16),
    hardware: Buffer.from(bytes.subarray(28, 34)),
    options,
  };
}

/** Reads the options, then those in `file`, then those in `sname` (RFC 3396, section 5). */
function readOptions(bytes: Buffer): Map<number, Buffer> | string {
  const found = new Map<number, Buffer[]>();
  const problem = addOptions(found, bytes.subarray(optionsAt));
  if (problem !== undefined) return problem;
  const overload = found.get(optionCodes.overload)?.[0]?.[0] ?? 0;
  const further = [
    ...((overload & 1) === 0 ? [] : [bytes.subarray(fileAt, fileAt + fileLength)]),
    ...((overload & 2) === 0 ? [] : [bytes.subarray(nameAt, nameAt + nameLength)]),
  ];
  for (const field of further) {
    const wrong = addOptions(found, field);
    if (wrong !== undefined) return wrong;
  }
  return new Map([...found].map(([code, parts]) => [code, Buffer.concat(parts)]));
}

/** Returns why the field is malformed; undefined if it is not. An option without a length ends nothing. */
function addOptions(found: Map<number, Buffer[]>, field: Buffer): string | undefined {
  for (let at = 0; at < field.length;) {
    const code = field.readUInt8(at);
    if (code === optionCodes.end) return undefined;
    at += 1;
    if (code === optionCodes.pad) continue;
    const length = field[at];
    if (length === undefined || at + 1 + length > field.length)
      return `its option ${code} is longer than the message`;
    const parts = found.get(code) ?? [];
    found.set(code, parts);
    parts.push(Buffer.from(field.subarray(at + 1, at + 1 + length)));
    at += 1 + length;
  }
  return undefined;
}
