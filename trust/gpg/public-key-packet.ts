import { createHash, createPublicKey } from 'node:crypto';
import type { webcrypto } from 'node:crypto';
import { keyFlaw } from '../keys/key-flaw.ts';
import { keyAlgorithms } from './algorithms.ts';
import { createReader } from './reader.ts';
import type { Reader } from './reader.ts';

/** The content of a public key or subkey packet. */
export interface PublicKeyPacket {
  readonly version: 4 | 6;
  /** Seconds since 1970. */
  readonly created: number;
  readonly algorithm: number;
  /** Lower-case hex. */
  readonly fingerprint: string;
  readonly keyId: string;
  /** SPKI, DER, base64; absent for a key that cannot verify here, which has `unusable` instead. */
  readonly spki?: string;
  readonly unusable?: string;
  /** The bytes that signatures over the key hash: framing, length and body (RFC 9580 section 5.2.4). */
  readonly hashable: Buffer;
}

const smallestRsaBits = 2048;

/** Curves by object identifier, DER content, hex (RFC 9580 section 9.2). */
const curves: Readonly<Record<string, { readonly name: string; readonly bytes: number }>> = {
  '2a8648ce3d030107': { name: 'P-256', bytes: 32 },
  '2b81040022': { name: 'P-384', bytes: 48 },
  '2b81040023': { name: 'P-521', bytes: 66 },
};
const ed25519Legacy = '2b06010401da470f01';

/**
 * Reads a public key packet of version 4 or 6 (RFC 9580 section 5.5.2).
 * @throws Error that states the fault; a key that is valid but unsupported here gives `unusable`
 */
export function readPublicKey(body: Buffer): PublicKeyPacket {
  const reader = createReader(body, 'a public key packet');
  const version = reader.octet();
  if (version !== 4 && version !== 6) throw new Error(`keys of version ${version} are not supported`);
  const created = reader.number(4);
  const algorithm = reader.octet();
  if (version === 6 && reader.number(4) !== reader.left)
    throw new Error('a public key packet does not have the length that it states');
  const facts = { version, created, algorithm, ...identify(version, body) } as const;
  const material = readMaterial(algorithm, reader);
  if ('unusable' in material) return { ...facts, unusable: material.unusable };
  try {
    const key = createPublicKey({ key: material.jwk, format: 'jwk' });
    const flaw = keyFlaw(key);
    if (flaw !== undefined) return { ...facts, unusable: flaw };
    return { ...facts, spki: key.export({ type: 'spki', format: 'der' }).toString('base64') };
  } catch {
    return { ...facts, unusable: 'its numbers do not form a valid key' };
  }
}

function identify(version: 4 | 6, body: Buffer): Pick<PublicKeyPacket, 'fingerprint' | 'keyId' | 'hashable'> {
  const head =
    version === 4 ? Buffer.from([0x99, body.length >> 8, body.length & 0xff]) : Buffer.alloc(5, 0x9b);
  if (version === 4 && body.length > 0xffff) throw new Error('a public key packet is too large');
  if (version === 6) head.writeUInt32BE(body.length, 1);
  const hashable = Buffer.concat([head, body]);
  const fingerprint = createHash(version === 4 ? 'sha1' : 'sha256')
    .update(hashable)
    .digest('hex');
  return { fingerprint, keyId: version === 4 ? fingerprint.slice(-16) : fingerprint.slice(0, 16), hashable };
}

type Material = { readonly jwk: webcrypto.JsonWebKey } | { readonly unusable: string };

function readMaterial(algorithm: number, reader: Reader): Material {
  switch (algorithm) {
    case keyAlgorithms.rsa:
    case keyAlgorithms.rsaSignOnly: {
      const n = reader.integer();
      const e = reader.integer();
      const bits = n.length * 8 - Math.clz32(n[0] ?? 0) + 24;
      if (bits < smallestRsaBits)
        return {
          unusable: `RSA with ${bits} bits is too weak: at least ${smallestRsaBits} bits are required`,
        };
      return { jwk: { kty: 'RSA', n: n.toString('base64url'), e: e.toString('base64url') } };
    }
    case keyAlgorithms.ecdsa: {
      const curve = curves[reader.take(reader.octet()).toString('hex')];
      const point = reader.integer();
      if (curve === undefined) return { unusable: 'its curve is not supported' };
      if (point.length !== 1 + 2 * curve.bytes || point[0] !== 4)
        return { unusable: 'its point is malformed' };
      const [x, y] = [point.subarray(1, 1 + curve.bytes), point.subarray(1 + curve.bytes)];
      return { jwk: { kty: 'EC', crv: curve.name, x: x.toString('base64url'), y: y.toString('base64url') } };
    }
    case keyAlgorithms.eddsaLegacy: {
      const oid = reader.take(reader.octet()).toString('hex');
      const point = reader.integer();
      if (oid !== ed25519Legacy) return { unusable: 'its curve is not supported' };
      if (point.length !== 33 || point[0] !== 0x40) return { unusable: 'its point is malformed' };
      return { jwk: { kty: 'OKP', crv: 'Ed25519', x: point.subarray(1).toString('base64url') } };
    }
    case keyAlgorithms.ed25519:
      return { jwk: { kty: 'OKP', crv: 'Ed25519', x: reader.take(32).toString('base64url') } };
    case keyAlgorithms.ed448:
      return { jwk: { kty: 'OKP', crv: 'Ed448', x: reader.take(57).toString('base64url') } };
    case keyAlgorithms.dsa:
      return { unusable: 'DSA is refused as too weak' };
    default:
      return { unusable: `public key algorithm ${algorithm} cannot sign, or is not supported` };
  }
}
