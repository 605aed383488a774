/** One OpenPGP packet without its framing. */
export interface Packet {
  readonly tag: number;
  readonly body: Buffer;
  /** The offset of the packet, for messages. */
  readonly offset: number;
}

/** Packet type ids (RFC 9580 section 5). */
export const packetTags = {
  signature: 2,
  onePassSignature: 4,
  secretKey: 5,
  publicKey: 6,
  secretSubkey: 7,
  compressedData: 8,
  marker: 10,
  literalData: 11,
  trust: 12,
  userId: 13,
  publicSubkey: 14,
  userAttribute: 17,
  padding: 21,
} as const;

/** Only data packets may have partial or indeterminate lengths (RFC 9580 sections 4.2.1.4 and 4.2.2). */
const dataTags: readonly number[] = [packetTags.compressedData, 9, packetTags.literalData, 18, 20];
const smallestFirstPart = 512;

/**
 * Splits bytes into OpenPGP packets, in both framings (RFC 9580 section 4.2).
 * @throws Error that states the fault and its byte
 */
export function readPackets(bytes: Buffer, limit: number): readonly Packet[] {
  const packets: Packet[] = [];
  let offset = 0;
  while (offset < bytes.length) {
    if (packets.length >= limit) throw new Error(`it has more than ${limit} packets`);
    const { tag, body, end } = readPacket(bytes, offset);
    packets.push({ tag, body, offset });
    offset = end;
  }
  return packets;
}

interface Framed {
  readonly tag: number;
  readonly body: Buffer;
  readonly end: number;
}

function readPacket(bytes: Buffer, offset: number): Framed {
  const header = bytes.readUInt8(offset);
  if ((header & 0x80) === 0) throw new Error(`no OpenPGP packet begins at byte ${offset}`);
  return (header & 0x40) === 0 ? readOld(bytes, offset, header) : readNew(bytes, offset, header);
}

function readOld(bytes: Buffer, offset: number, header: number): Framed {
  const tag = (header & 0x3c) >> 2;
  const lengthType = header & 3;
  if (lengthType === 3) {
    if (!dataTags.includes(tag)) throw new Error(`the packet at byte ${offset} has no length`);
    return { tag, body: bytes.subarray(offset + 1), end: bytes.length };
  }
  const octets = 1 << lengthType;
  if (offset + 1 + octets > bytes.length) throw cutShort(offset);
  const start = offset + 1 + octets;
  return take(bytes, offset, tag, start, bytes.readUIntBE(offset + 1, octets));
}

function readNew(bytes: Buffer, offset: number, header: number): Framed {
  const tag = header & 0x3f;
  const parts: Buffer[] = [];
  let position = offset + 1;
  for (;;) {
    const { length, partial, next } = readLength(bytes, position, offset);
    if (partial && !dataTags.includes(tag))
      throw new Error(`the packet at byte ${offset} must not have a partial length`);
    if (partial && parts.length === 0 && length < smallestFirstPart)
      throw new Error(`the packet at byte ${offset} has a first part that is too small`);
    const { body, end } = take(bytes, offset, tag, next, length);
    if (!partial && parts.length === 0) return { tag, body, end };
    parts.push(body);
    position = end;
    if (!partial) return { tag, body: Buffer.concat(parts), end };
  }
}

function readLength(
  bytes: Buffer,
  at: number,
  offset: number,
): { readonly length: number; readonly partial: boolean; readonly next: number } {
  const first = bytes[at];
  if (first === undefined) throw cutShort(offset);
  if (first < 192) return { length: first, partial: false, next: at + 1 };
  if (first < 224) {
    const second = bytes[at + 1];
    if (second === undefined) throw cutShort(offset);
    return { length: ((first - 192) << 8) + second + 192, partial: false, next: at + 2 };
  }
  if (first < 255) return { length: 2 ** (first & 0x1f), partial: true, next: at + 1 };
  if (at + 5 > bytes.length) throw cutShort(offset);
  return { length: bytes.readUInt32BE(at + 1), partial: false, next: at + 5 };
}

function take(bytes: Buffer, offset: number, tag: number, start: number, length: number): Framed {
  const end = start + length;
  if (end > bytes.length) throw cutShort(offset);
  return { tag, body: bytes.subarray(start, end), end };
}

function cutShort(offset: number): Error {
  return new Error(`the packet at byte ${offset} is cut short`);
}
