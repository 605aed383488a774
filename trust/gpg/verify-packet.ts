import { createHash, createPublicKey, verify } from 'node:crypto';
import { countVerifications, createMemory } from '../keys/remembered.ts';
import { hashName, keyAlgorithms } from './algorithms.ts';
import { createReader } from './reader.ts';
import { signatureTypes } from './signature-packet.ts';
import type { SignaturePacket } from './signature-packet.ts';

/**
 * Returns whether the signature over `data` was made by the key (RFC 9580 sections 5.2.3 and 5.2.4). Key and
 * signature must name the same algorithm. Times, flags and revocations are not checked.
 * @throws Error when the signature's own fields cannot be read
 */
export function verifyPacket(signature: SignaturePacket, key: SigningAlgorithm, data: Buffer): boolean {
  const { version, algorithm, hash, salt, hashed, value } = signature;
  return remembered(
    [`${version} ${algorithm} ${hash} ${key.algorithm}`, key.spki, salt, hashed, value, data],
    () => {
      // Only signatures of data are counted. Signatures of key rings are verified while a policy is read.
      if (signature.type === signatureTypes.binary) countVerifications();
      return fits(signature, key, data);
    },
  );
}

interface SigningAlgorithm {
  readonly algorithm: number;
  /** DER, base64. */
  readonly spki: string;
}

const remembered = createMemory<boolean>(1024);

function fits(signature: SignaturePacket, key: SigningAlgorithm, data: Buffer): boolean {
  if (family(signature.algorithm) !== family(key.algorithm)) return false;
  const signed = Buffer.concat([signature.salt, data, signature.hashed, trailer(signature)]);
  const hash = hashName(signature.hash);
  const publicKey = createPublicKey({ key: Buffer.from(key.spki, 'base64'), format: 'der', type: 'spki' });
  const reader = createReader(signature.value, 'a signature');
  switch (signature.algorithm) {
    case keyAlgorithms.rsa:
    case keyAlgorithms.rsaSignOnly: {
      const size = Math.ceil((publicKey.asymmetricKeyDetails?.modulusLength ?? 0) / 8);
      return verify(hash, signed, publicKey, padded(reader.integer(), size));
    }
    case keyAlgorithms.ecdsa: {
      const size = fieldBytes[publicKey.asymmetricKeyDetails?.namedCurve ?? ''] ?? 0;
      const value = Buffer.concat([padded(reader.integer(), size), padded(reader.integer(), size)]);
      return verify(hash, signed, { key: publicKey, dsaEncoding: 'ieee-p1363' }, value);
    }
    // OpenPGP signs the hash with EdDSA as if it were the message.
    case keyAlgorithms.eddsaLegacy:
      return verify(
        null,
        digest(hash, signed),
        publicKey,
        Buffer.concat([padded(reader.integer(), 32), padded(reader.integer(), 32)]),
      );
    case keyAlgorithms.ed25519:
    case keyAlgorithms.ed448:
      return verify(null, digest(hash, signed), publicKey, reader.rest());
    default:
      return false;
  }
}

const fieldBytes: Readonly<Record<string, number>> = { prime256v1: 32, secp384r1: 48, secp521r1: 66 };

function family(algorithm: number): number {
  return algorithm === keyAlgorithms.rsaSignOnly ? keyAlgorithms.rsa : algorithm;
}

function trailer({ version, hashed }: SignaturePacket): Buffer {
  const bytes = Buffer.from([version, 0xff, 0, 0, 0, 0]);
  bytes.writeUInt32BE(hashed.length, 2);
  return bytes;
}

function digest(hash: string, bytes: Buffer): Buffer {
  return createHash(hash).update(bytes).digest();
}

function padded(value: Buffer, size: number): Buffer {
  return value.length >= size ? value : Buffer.concat([Buffer.alloc(size - value.length), value]);
}
