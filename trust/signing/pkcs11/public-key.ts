import { X509Certificate, createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { TokenKey } from './messages.ts';

/**
 * Object identifiers of the curves, as CKA_EC_PARAMS contains them (DER), and the bytes of their coordinates.
 */
const curves: Readonly<Record<string, { readonly crv: string; readonly bytes: number }>> = {
  '06082a8648ce3d030107': { crv: 'P-256', bytes: 32 },
  '06052b81040022': { crv: 'P-384', bytes: 48 },
  '06052b81040023': { crv: 'P-521', bytes: 66 },
};

/** Returns the public key of a token's key, or the reason why it has no usable one. */
export function publicKeyOf(key: TokenKey): KeyObject | string {
  try {
    if (key.certificate !== undefined) return new X509Certificate(key.certificate).publicKey;
    if (key.type === 'rsa') {
      if (key.modulus === undefined || key.publicExponent === undefined)
        return 'the token does not show the modulus of the key';
      const n = Buffer.from(key.modulus).toString('base64url');
      const e = Buffer.from(key.publicExponent).toString('base64url');
      return createPublicKey({ key: { kty: 'RSA', n, e }, format: 'jwk' });
    }
    const point = unwrap(key.ecPoint);
    if (point === undefined)
      return 'the token holds no public key beside the private one, under the same id or label';
    if (key.type === 'ed')
      return createPublicKey({
        key: { kty: 'OKP', crv: 'Ed25519', x: point.toString('base64url') },
        format: 'jwk',
      });
    const curve = curves[Buffer.from(key.ecParams ?? []).toString('hex')];
    if (curve === undefined || point[0] !== 4 || point.length !== 1 + 2 * curve.bytes)
      return 'its curve is none of P-256, P-384 and P-521';
    const x = point.subarray(1, 1 + curve.bytes).toString('base64url');
    const y = point.subarray(1 + curve.bytes).toString('base64url');
    return createPublicKey({ key: { kty: 'EC', crv: curve.crv, x, y }, format: 'jwk' });
  } catch {
    return 'its public key cannot be read';
  }
}

/**
 * Returns the point. CKA_EC_POINT is an OCTET STRING with the point; some modules return the point itself.
 */
function unwrap(bytes: Uint8Array | undefined): Buffer | undefined {
  if (bytes === undefined) return undefined;
  const point = Buffer.from(bytes);
  if (point[0] === 4 && point[1] === point.length - 2) return point.subarray(2);
  if (point[0] === 4 && point[1] === 0x81 && point[2] === point.length - 3) return point.subarray(3);
  return point;
}
