import { attempt } from '../../base/errors/index.ts';
import { append, largest, smallest } from '../../base/lists/index.ts';
import type { GpgKey, GpgSigningKey, Revocation } from '../requirements/gpg-key.ts';
import { isWeakHash } from './algorithms.ts';
import { dearmor, holdsPrivateKey } from './armor.ts';
import { packetTags, readPackets } from './packets.ts';
import type { Packet } from './packets.ts';
import { readPublicKey } from './public-key-packet.ts';
import type { PublicKeyPacket } from './public-key-packet.ts';
import { readSignature, signatureTypes } from './signature-packet.ts';
import type { SignaturePacket } from './signature-packet.ts';
import { verifyPacket } from './verify-packet.ts';

/** The content of a key file: its certificates, and why other keys in it cannot be used. */
export interface GpgKeyRing {
  readonly keys: readonly GpgKey[];
  readonly unusable: readonly string[];
}

const packetLimit = 20_000;
/**
 * Packets that say nothing to others (RFC 9580 sections 5.8, 5.10 and 5.14). In gpg's pubring.gpg, trust
 * packets are between a user id and its signatures, and between signatures.
 */
const skipped: readonly number[] = [packetTags.marker, packetTags.trust, packetTags.padding];
const secret: readonly number[] = [packetTags.secretKey, packetTags.secretSubkey];
const signFlag = 0x02;
const compromised = 2;

/**
 * Reads public keys, binary or armored (RFC 9580 section 10.1). Several files count as one. As in gpg, copies
 * of a key are merged, and a revocation of a key counts wherever in the files it is. User ids and subkeys
 * count only with the primary key's own signature, and signing subkeys only with their signature over the
 * primary key. A revocation that cannot be checked makes its key unusable. Self-signatures may use SHA-1, as
 * the keys of older distributions do: the file itself is trusted.
 * @throws Error that states the fault and its byte or line, when no key can be read at all
 */
export function readKeyRing(...files: readonly Buffer[]): GpgKeyRing {
  const packets = files.flatMap((bytes) => {
    const read = readPackets(dearmor(bytes), packetLimit).filter(({ tag }) => !skipped.includes(tag));
    if (read.some(({ tag }) => secret.includes(tag))) throw new Error(holdsPrivateKey);
    if (read[0]?.tag !== packetTags.publicKey) throw new Error('it does not begin with a public key');
    return read;
  });
  const keys: GpgKey[] = [];
  const unusable: string[] = [];
  const revocations = revocationsByIssuer(packets);
  for (const copies of certificates(packets)) {
    try {
      keys.push(readCertificate(copies, revocations));
    } catch (error) {
      unusable.push(`the key at byte ${copies[0]?.[0]?.offset ?? 0}: ${(error as Error).message}`);
    }
  }
  if (keys.length === 0) throw new Error(unusable.join('; '));
  return { keys, unusable };
}

/** Returns the certificates, each with its copies. */
function certificates(packets: readonly Packet[]): Iterable<readonly (readonly Packet[])[]> {
  const copies = new Map<string, Packet[][]>();
  let last: Packet[] = [];
  for (const packet of packets) {
    if (packet.tag === packetTags.publicKey) {
      last = [packet];
      const key = packet.body.toString('latin1');
      const before = copies.get(key);
      if (before === undefined) copies.set(key, [last]);
      else before.push(last);
    } else last.push(packet);
  }
  return copies.values();
}

/** A revocation of a primary key, and the primary key after which it is in its file. */
interface PlacedRevocation {
  readonly signature: SignaturePacket;
  readonly after: Buffer;
}

type Revocations = ReadonlyMap<string, readonly PlacedRevocation[]>;

/**
 * Returns all revocations of primary keys by the keys that they name: gpg --gen-revoke makes them apart from
 * their key, and appended to a key file they follow its last user id, subkey or key.
 */
function revocationsByIssuer(packets: readonly Packet[]): Revocations {
  const found = new Map<string, PlacedRevocation[]>();
  let after: Buffer = Buffer.of();
  for (const { tag, body } of packets) {
    if (tag === packetTags.publicKey) after = body;
    if (tag !== packetTags.signature || body[1] !== signatureTypes.keyRevocation) continue;
    const signature = attempt(() => readSignature(body));
    if (signature === undefined) continue;
    for (const issuer of new Set(signature.issuers)) {
      const before = found.get(issuer);
      if (before === undefined) found.set(issuer, [{ signature, after }]);
      else before.push({ signature, after });
    }
  }
  return found;
}

/** A packet with the signatures that follow it. */
interface Component {
  readonly packet: Packet;
  readonly signatures: SignaturePacket[];
}

function readCertificate(copies: readonly (readonly Packet[])[], revocationsOf: Revocations): GpgKey {
  const [head, ...components] = merged(copies.flatMap(group));
  if (head === undefined) throw new Error('it is empty');
  const primary = readPublicKey(head.packet.body);
  if (primary.spki === undefined) throw new Error(primary.unusable ?? 'it cannot be used');
  const certifier = { algorithm: primary.algorithm, spki: primary.spki };
  const own = (signatures: readonly SignaturePacket[], data: Buffer) =>
    signatures.filter((signature) => verifyQuietly(signature, certifier, data));

  const direct = own(head.signatures, primary.hashable);
  // Keys may name a revoker: it signs revocations of other keys, which are in the certificates of these.
  const isOfAnother = ({ signature, after }: PlacedRevocation): boolean => {
    const other = after.equals(head.packet.body) ? undefined : attempt(() => readPublicKey(after));
    return other !== undefined && verifyQuietly(signature, certifier, other.hashable);
  };
  const claimed = [
    ...head.signatures.filter(({ type }) => type === signatureTypes.keyRevocation),
    ...[primary.keyId, primary.fingerprint]
      .flatMap((name) => revocationsOf.get(name) ?? [])
      .filter((placed) => !isOfAnother(placed))
      .map(({ signature }) => signature),
  ];
  const revocations = own(claimed, primary.hashable);
  if (revocations.length < claimed.length)
    throw new Error('it is revoked by a signature that cannot be checked');
  const userIds = components
    .filter(({ packet }) => packet.tag === packetTags.userId)
    .map((component) => readUserId(component, primary, own))
    .filter((userId) => userId !== undefined);
  const directKey = latest(direct.filter(({ type }) => type === signatureTypes.directKey));
  const identity = primaryUserId(userIds);
  const self = primary.version === 6 ? directKey : identity?.self;
  if (self === undefined) throw new Error('it has no self-signature that can be checked');
  const revoked = revocation([...revocations, ...(identity?.revocations ?? [])]);
  const facts = {
    ...period(primary, directKey === undefined ? [self] : [self, directKey]),
    ...(revoked === undefined ? {} : { revoked }),
  };
  const subkeys = components
    .filter(({ packet }) => packet.tag === packetTags.publicSubkey)
    .flatMap((component) => readSubkey(component, primary, own) ?? []);
  const fingerprint = primary.fingerprint.toUpperCase();
  const { keyId, created } = primary;
  const mainKey = maySign(self) ? [{ fingerprint, keyId, created, ...certifier, ...facts }] : [];
  const signing = [...mainKey, ...subkeys];
  if (signing.length === 0) throw new Error('none of its keys may sign');
  return { fingerprint, userId: identity?.name ?? '', ...facts, signing };
}

function group(packets: readonly Packet[]): readonly Component[] {
  const components: Component[] = [];
  for (const packet of packets) {
    if (packet.tag !== packetTags.signature) {
      components.push({ packet, signatures: [] });
      continue;
    }
    const signature = readQuietly(packet);
    if (signature !== undefined) components.at(-1)?.signatures.push(signature);
  }
  return components;
}

/** Puts the signatures of equal components together. */
function merged(components: readonly Component[]): readonly Component[] {
  const found = new Map<string, Component>();
  for (const component of components) {
    const { tag, body } = component.packet;
    const key = `${tag} ${body.toString('latin1')}`;
    const before = found.get(key);
    if (before === undefined) found.set(key, component);
    else append(before.signatures, component.signatures);
  }
  return [...found.values()];
}

/**
 * Reads a signature, if possible. Signatures of other users may be of any type and age; only those that are
 * read and verified count.
 */
function readQuietly(packet: Packet): SignaturePacket | undefined {
  try {
    return readSignature(packet.body);
  } catch (error) {
    // A revocation must not be missed because of its encoding.
    if (packet.body[1] === signatureTypes.keyRevocation || packet.body[1] === signatureTypes.subkeyRevocation)
      throw new Error(`it is revoked by a signature that cannot be read: ${(error as Error).message}`, {
        cause: error,
      });
    return undefined;
  }
}

function verifyQuietly(
  signature: SignaturePacket,
  key: { readonly algorithm: number; readonly spki: string },
  data: Buffer,
): boolean {
  return attempt(() => verifyPacket(signature, key, data)) ?? false;
}

type Own = (signatures: readonly SignaturePacket[], data: Buffer) => readonly SignaturePacket[];

interface UserId {
  readonly name: string;
  readonly self: SignaturePacket;
  readonly revocations: readonly SignaturePacket[];
}

function readUserId(
  { packet, signatures }: Component,
  primary: PublicKeyPacket,
  own: Own,
): UserId | undefined {
  const head = Buffer.from([0xb4, 0, 0, 0, 0]);
  head.writeUInt32BE(packet.body.length, 1);
  const good = own(signatures, Buffer.concat([primary.hashable, head, packet.body]));
  const self = latest(good.filter(({ type }) => signatureTypes.certifications.includes(type)));
  const revocations = good.filter(({ type }) => type === signatureTypes.certificationRevocation);
  return self === undefined ? undefined : { name: printable(packet.body), self, revocations };
}

/**
 * Returns the user id that is not revoked, is marked as primary, and was signed last; the criteria apply in
 * this order.
 */
function primaryUserId(userIds: readonly UserId[]): UserId | undefined {
  return userIds.toSorted(
    (a, b) =>
      a.revocations.length - b.revocations.length ||
      Number(b.self.primaryUserId) - Number(a.self.primaryUserId) ||
      b.self.created - a.self.created,
  )[0];
}

function readSubkey(
  { packet, signatures }: Component,
  primary: PublicKeyPacket,
  own: Own,
): GpgSigningKey | undefined {
  const subkey = readPublicKey(packet.body);
  const data = Buffer.concat([primary.hashable, subkey.hashable]);
  const good = own(signatures, data);
  const binding = latest(good.filter(({ type }) => type === signatureTypes.subkeyBinding));
  if (binding === undefined || !maySign(binding) || subkey.spki === undefined) return undefined;
  const key = { algorithm: subkey.algorithm, spki: subkey.spki };
  const { embedded } = binding;
  const bound =
    embedded?.type === signatureTypes.primaryKeyBinding &&
    !isBeyondUse(embedded.hash) &&
    verifyQuietly(embedded, key, data);
  if (!bound) return undefined;
  const claimed = signatures.filter(({ type }) => type === signatureTypes.subkeyRevocation).length;
  const revocations = good.filter(({ type }) => type === signatureTypes.subkeyRevocation);
  const revoked = claimed > revocations.length ? { at: 0, always: true } : revocation(revocations);
  return {
    fingerprint: subkey.fingerprint.toUpperCase(),
    keyId: subkey.keyId,
    created: subkey.created,
    ...key,
    ...period(subkey, [binding, embedded]),
    ...(revoked === undefined ? {} : { revoked }),
  };
}

/** Returns the validity of a key, as the signatures over it state. */
function period(
  key: PublicKeyPacket,
  signatures: readonly SignaturePacket[],
): { readonly from: number; readonly until?: number } {
  const ends = signatures.flatMap(({ created, lifetime, keyLifetime }) => [
    ...(lifetime === 0 ? [] : [created + lifetime]),
    ...(keyLifetime === 0 ? [] : [key.created + keyLifetime]),
  ]);
  const from = Math.max(key.created, largest(signatures.map(({ created }) => created)));
  return { from, ...(ends.length === 0 ? {} : { until: smallest(ends) }) };
}

function maySign(signature: SignaturePacket): boolean {
  return signature.flags !== undefined && (signature.flags & signFlag) !== 0;
}

function isBeyondUse(hash: number): boolean {
  return isWeakHash(hash) && hash !== 2;
}

function latest(signatures: readonly SignaturePacket[]): SignaturePacket | undefined {
  return signatures.filter(({ hash }) => !isBeyondUse(hash)).toSorted((a, b) => b.created - a.created)[0];
}

function revocation(signatures: readonly SignaturePacket[]): Revocation | undefined {
  if (signatures.length === 0) return undefined;
  return {
    at: smallest(signatures.map(({ created }) => created)),
    always: signatures.some(
      ({ revocationReason }) =>
        revocationReason === undefined || revocationReason === 0 || revocationReason === compromised,
    ),
  };
}

function printable(userId: Buffer): string {
  return userId
    .toString('utf8')
    .slice(0, 200)
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '?');
}
