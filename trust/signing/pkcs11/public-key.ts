import { createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { ed25519FromRaw } from '../../keys/ed25519.ts';
import { readCertificate } from '../../x509/certificate.ts';
import { derTag, expectTag } from '../../x509/der.ts';
import { readStrict } from '../../x509/der-strict.ts';
import { readOid } from '../../x509/der-values.ts';
import { curveBytes } from '../../x509/ecdsa-signature.ts';
import type { TokenKey } from './messages.ts';

/** The curves by their object identifiers, which CKA_EC_PARAMS contains (RFC 5480 section 2.1.1.1). */
const curves: Readonly<Record<string, { readonly crv: string; readonly bytes: number | undefined }>> = {
  '1.2.840.10045.3.1.7': { crv: 'P-256', bytes: curveBytes['prime256v1'] },
  '1.3.132.0.34': { crv: 'P-384', bytes: curveBytes['secp384r1'] },
  '1.3.132.0.35': { crv: 'P-521', bytes: curveBytes['secp521r1'] },
};

/** Returns the public key of a token's key, or the reason why it has no usable one. */
export function publicKeyOf(key: TokenKey): KeyObject | string {
  try {
    if (key.certificate !== undefined) return readCertificate(key.certificate).key;
    if (key.type === 'rsa') {
      if (key.modulus === undefined || key.publicExponent === undefined)
        return 'the token does not show the modulus of the key';
      const n = Buffer.from(key.modulus).toString('base64url');
      const e = Buffer.from(key.publicExponent).toString('base64url');
      return createPublicKey({ key: { kty: 'RSA', n, e }, format: 'jwk' });
    }
    if (key.ecPoint === undefined)
      return 'the token has no public key with the id or the label of the private key';
    if (key.type === 'ed') return ed25519FromRaw(pointOf(key.ecPoint, 32));
    const { crv, bytes } = curves[readOid(readStrict(key.ecParams ?? Buffer.alloc(0)), 'the curve')] ?? {};
    if (crv === undefined || bytes === undefined) return 'its curve is none of P-256, P-384 and P-521';
    const point = pointOf(key.ecPoint, 1 + 2 * bytes);
    // SEC 1, section 2.3.3: the byte 4 precedes both coordinates.
    if (point[0] !== 4 || point.length !== 1 + 2 * bytes)
      return 'its public key is not an uncompressed point of its curve';
    const x = point.subarray(1, 1 + bytes).toString('base64url');
    const y = point.subarray(1 + bytes).toString('base64url');
    return createPublicKey({ key: { kty: 'EC', crv, x, y }, format: 'jwk' });
  } catch {
    return 'its public key cannot be read';
  }
}

/**
 * Returns the point. CKA_EC_POINT is an OCTET STRING with the point; some modules return the point itself.
 * @param length bytes of a point that is not wrapped
 */
function pointOf(bytes: Uint8Array, length: number): Buffer {
  return bytes.length === length
    ? Buffer.from(bytes)
    : expectTag(readStrict(bytes), derTag.octetString, 'the point').content;
}
