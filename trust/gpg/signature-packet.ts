import { createReader } from './reader.ts';

/** Signature type ids (RFC 9580 section 5.2.1). */
export const signatureTypes = {
  binary: 0x00,
  certifications: [0x10, 0x11, 0x12, 0x13] as readonly number[],
  subkeyBinding: 0x18,
  primaryKeyBinding: 0x19,
  directKey: 0x1f,
  keyRevocation: 0x20,
  subkeyRevocation: 0x28,
  certificationRevocation: 0x30,
} as const;

export interface SignaturePacket {
  readonly version: 4 | 6;
  readonly type: number;
  readonly algorithm: number;
  readonly hash: number;
  /** Seconds since 1970; every signature must have it (RFC 9580 section 5.2.3.11). */
  readonly created: number;
  /** Seconds after `created`; 0: never expires. */
  readonly lifetime: number;
  /** Seconds after the key's creation; 0: never expires. */
  readonly keyLifetime: number;
  /** First octet of the key flags; undefined when there are none. */
  readonly flags?: number;
  readonly primaryUserId: boolean;
  /** The reason of a revocation; 2: the key was compromised. */
  readonly revocationReason?: number;
  /** Key ids and fingerprints of the issuer that the signature names, in hex. A hint, never proof. */
  readonly issuers: readonly string[];
  /** The signature of a signing subkey over its primary key. */
  readonly embedded?: SignaturePacket;
  /** From the version to the last hashed subpacket: part of the signed bytes. */
  readonly hashed: Buffer;
  /** Version 6: precedes the signed data. */
  readonly salt: Buffer;
  /** The algorithm's own fields. */
  readonly value: Buffer;
}

/** Salt sizes of version 6, by hash algorithm (RFC 9580 section 9.5). */
const saltSizes: Readonly<Record<number, number>> = { 8: 16, 9: 24, 10: 32, 11: 16, 12: 16, 14: 32 };

/**
 * Reads a signature packet of version 4 or 6 (RFC 9580 section 5.2.3).
 * @throws Error that states the fault
 */
export function readSignature(body: Buffer, embedded = false): SignaturePacket {
  const reader = createReader(body, 'a signature packet');
  const version = reader.octet();
  if (version !== 4 && version !== 6) throw new Error(`signatures of version ${version} are not supported`);
  const counter = version === 6 ? 4 : 2;
  const type = reader.octet();
  const algorithm = reader.octet();
  const hash = reader.octet();
  const facts = emptyFacts();
  const hashedPart = reader.take(reader.number(counter));
  const hashed = body.subarray(0, body.length - reader.left);
  readSubpackets(hashedPart, true, facts, embedded);
  readSubpackets(reader.take(reader.number(counter)), false, facts, embedded);
  // The left 16 bits of the hash only save time.
  reader.take(2);
  const salt = version === 6 ? reader.take(reader.octet()) : Buffer.alloc(0);
  if (version === 6 && salt.length !== saltSizes[hash])
    throw new Error(`a salt of ${salt.length} bytes is not valid for hash algorithm ${hash}`);
  if (facts.created === undefined) throw new Error('a signature does not say when it was made');
  return {
    version,
    type,
    algorithm,
    hash,
    ...facts,
    created: facts.created,
    hashed,
    salt,
    value: reader.rest(),
  };
}

interface Facts {
  created?: number;
  lifetime: number;
  keyLifetime: number;
  flags?: number;
  primaryUserId: boolean;
  revocationReason?: number;
  issuers: string[];
  embedded?: SignaturePacket;
}

function emptyFacts(): Facts {
  return { lifetime: 0, keyLifetime: 0, primaryUserId: false, issuers: [] };
}

function readSubpackets(bytes: Buffer, hashed: boolean, facts: Facts, embedded: boolean): void {
  const reader = createReader(bytes, 'a list of signature subpackets');
  while (reader.left > 0) {
    const first = reader.octet();
    const length =
      first < 192 ? first : first < 255 ? ((first - 192) << 8) + reader.octet() + 192 : reader.number(4);
    const content = reader.take(length);
    if (content.length === 0) throw new Error('a signature subpacket is empty');
    readSubpacket(content.readUInt8(0), content.subarray(1), hashed, facts, embedded);
  }
}

/** Subpackets that only inform: preferences, notations, features, key servers (RFC 9580 section 5.2.3.7). */
const informing: readonly number[] = [4, 5, 6, 7, 11, 21, 22, 23, 24, 26, 28, 30, 34, 35, 39];

function readSubpacket(
  typeOctet: number,
  content: Buffer,
  hashed: boolean,
  facts: Facts,
  embedded: boolean,
): void {
  const type = typeOctet & 0x7f;
  const critical = (typeOctet & 0x80) !== 0;
  // The issuer and the subkey's own signature prove themselves; all other subpackets count only when they are
  // signed.
  if (type === 16) facts.issuers.push(sized(content, 8, 'an issuer').toString('hex'));
  else if (type === 33) facts.issuers.push(content.subarray(1).toString('hex'));
  else if (type === 32) {
    if (embedded || facts.embedded !== undefined)
      throw new Error('a signature contains more than one embedded signature');
    facts.embedded = readSignature(content, true);
  } else if (!hashed) return;
  else if (type === 2) facts.created = seconds(content);
  else if (type === 3) facts.lifetime = seconds(content);
  else if (type === 9) facts.keyLifetime = seconds(content);
  else if (type === 25) facts.primaryUserId = sized(content, 1, 'a primary user id').readUInt8(0) !== 0;
  else if (type === 27) facts.flags = content[0] ?? 0;
  else if (type === 29) facts.revocationReason = createReader(content, 'a reason for revocation').octet();
  else if (critical && (type === 20 || !informing.includes(type)))
    throw new Error(
      type === 20
        ? 'it has a critical notation, and no critical notation is supported'
        : `it has a critical subpacket of type ${type}, which is not supported`,
    );
}

function seconds(content: Buffer): number {
  return sized(content, 4, 'a time').readUInt32BE(0);
}

function sized(content: Buffer, size: number, what: string): Buffer {
  if (content.length !== size)
    throw new Error(`${what} in a signature subpacket has ${content.length} bytes, not ${size}`);
  return content;
}
