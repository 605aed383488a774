import { inflateRawSync, inflateSync } from 'node:zlib';
import { createReader } from './reader.ts';
import { packetTags, readPackets } from './packets.ts';
import type { Packet } from './packets.ts';
import { readSignature, signatureTypes } from './signature-packet.ts';
import type { SignaturePacket } from './signature-packet.ts';

/** A message with one signature: its content and its signature. */
export interface SignedMessage {
  readonly content: Buffer;
  readonly signature: SignaturePacket;
  /** The key id or fingerprint that the message names first, lower-case hex. */
  readonly keyId: string;
}

/** A message of simple signing has three packets; padding and markers may be between them. */
const packetLimit = 32;

/**
 * Reads an inline signed message as simple signing creates it: one-pass signature, literal data, signature;
 * directly or in one compressed packet (RFC 9580 section 10.3). Any other content, also after the message, is
 * refused: two readers must not see two messages.
 * @param limit maximum bytes of the message after decompression
 * @throws Error that states the fault and its byte
 */
export function readSignedMessage(bytes: Buffer, limit: number): SignedMessage {
  let packets = meaningful(readPackets(bytes, packetLimit));
  const [first] = packets;
  if (first?.tag === packetTags.compressedData && packets.length === 1)
    packets = meaningful(readPackets(decompress(first.body, limit), packetLimit));
  const [onePass, literal, signature] = packets;
  const tags = packets.map(({ tag }) => tag);
  const expected = [packetTags.onePassSignature, packetTags.literalData, packetTags.signature];
  if (
    onePass === undefined ||
    literal === undefined ||
    signature === undefined ||
    tags.join() !== expected.join()
  )
    throw new Error(
      `it is not an inline signed message with one signature: its packets are of the types ${tags.join(', ') || '(none)'}`,
    );
  const announced = readOnePass(onePass.body);
  const packet = readSignature(signature.body);
  if (packet.type !== signatureTypes.binary)
    throw new Error(`its signature has the type ${packet.type}, and is not over binary data`);
  if (
    announced.version !== (packet.version === 6 ? 6 : 3) ||
    announced.hash !== packet.hash ||
    announced.algorithm !== packet.algorithm
  )
    throw new Error('its signature does not match its one-pass signature packet');
  if (!packet.salt.equals(announced.salt))
    throw new Error('its signature does not match its one-pass signature packet');
  if (!packet.issuers.some((issuer) => names(issuer, announced.keyId)))
    throw new Error('its signature does not name the key of its one-pass signature packet');
  return { content: readLiteral(literal.body), signature: packet, keyId: announced.keyId };
}

function meaningful(packets: readonly Packet[]): readonly Packet[] {
  return packets.filter(({ tag }) => tag !== packetTags.marker && tag !== packetTags.padding);
}

/** Decompresses algorithms 1 and 2 of RFC 9580 section 9.4; no tool signs images with BZip2. */
function decompress(body: Buffer, limit: number): Buffer {
  const [algorithm, data] = [body[0], body.subarray(1)];
  const options = { maxOutputLength: limit };
  try {
    if (algorithm === 0) return data;
    if (algorithm === 1) return inflateRawSync(data, options);
    if (algorithm === 2) return inflateSync(data, options);
  } catch (error) {
    const tooLarge = (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE';
    throw new Error(tooLarge ? `it contains more than ${limit} bytes` : 'its compressed data is damaged', {
      cause: error,
    });
  }
  throw new Error(`compression algorithm ${algorithm ?? '(none)'} is not supported`);
}

interface OnePass {
  readonly version: number;
  readonly hash: number;
  readonly algorithm: number;
  readonly salt: Buffer;
  readonly keyId: string;
}

/** Reads a one-pass signature packet (RFC 9580 section 5.4). */
function readOnePass(body: Buffer): OnePass {
  const reader = createReader(body, 'a one-pass signature packet');
  const version = reader.octet();
  if (version !== 3 && version !== 6)
    throw new Error(`one-pass signatures of version ${version} are not supported`);
  const type = reader.octet();
  if (type !== signatureTypes.binary)
    throw new Error(`its signature has the type ${type}, and is not over binary data`);
  const [hash, algorithm] = [reader.octet(), reader.octet()];
  const salt = version === 6 ? reader.take(reader.octet()) : Buffer.alloc(0);
  const keyId = reader.take(version === 6 ? 32 : 8).toString('hex');
  if (reader.octet() === 0) throw new Error('it announces more than one signature');
  return { version, hash, algorithm, salt, keyId };
}

/** Reads literal data (RFC 9580 section 5.9). Format, file name and date are not signed, and are skipped. */
function readLiteral(body: Buffer): Buffer {
  const reader = createReader(body, 'a literal data packet');
  reader.octet();
  reader.take(reader.octet());
  reader.take(4);
  return reader.rest();
}

/** Returns whether an issuer (key id, or fingerprint of version 4 or 6) is the announced key. */
function names(issuer: string, announced: string): boolean {
  return (
    issuer === announced || (announced.length === 16 && issuer.length === 40 && issuer.endsWith(announced))
  );
}
